// Addresses that a page may give, and the addresses made from them.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeWorker } from './fake-worker.mjs';

let restore;
beforeEach(() => (restore = FakeWorker.install()));
afterEach(() => {
  restore();
  delete globalThis.location;
  delete globalThis.origin;
});

/** Puts the page at `href`. A frame may have another origin than its address says. */
function pageAt(href, origin = new URL(href).origin) {
  Object.assign(globalThis, { location: new URL(href), origin });
}

const socketOf = async (url) => {
  await FedraClient.connect({ url, task: 'mnist' });
  return FakeWorker.last.sent[0].config.url;
};

for (const [given, socket] of [
  ['https://example.org', 'wss://example.org/v1/connect'],
  ['wss://example.org/', 'wss://example.org/v1/connect'],
  ['http://example.org:8080/v1', 'ws://example.org:8080/v1/connect'],
  ['wss://example.org/v1/connect', 'wss://example.org/v1/connect'],
  ['wss://example.org/v1/connect/?x=1#part', 'wss://example.org/v1/connect?x=1'],
  ['https://example.org/fed', 'wss://example.org/fed/v1/connect'],
  ['https://example.org/fed/', 'wss://example.org/fed/v1/connect'],
  ['wss://example.org/fed/v1/connect', 'wss://example.org/fed/v1/connect'],
  [new URL('https://example.org/fed/v1/'), 'wss://example.org/fed/v1/connect'],
]) {
  test(`${given} is the socket ${socket}`, async () => assert.equal(await socketOf(given), socket));
}

test('a relative address begins at the page', async () => {
  pageAt('https://example.org/app/index.html');
  assert.equal(await socketOf('/v1/connect'), 'wss://example.org/v1/connect');
  assert.equal(await socketOf('.'), 'wss://example.org/app/v1/connect');
});

for (const [page, origin] of [
  ['https://example.org/app/', undefined],
  ['about:srcdoc', 'https://example.org'],
  ['blob:https://example.org/2b8a', 'null'],
]) {
  for (const url of ['ws://example.org/v1/connect', 'http://10.0.0.7:8080', 'ws://localhost.example.org/', 'ws://127.example.org/']) {
    test(`from ${page} ${url} is mixed content, and refused before a worker starts`, async () => {
      pageAt(page, origin);
      await assert.rejects(FedraClient.connect({ url, task: 'mnist' }), { code: 'invalid-options', message: /wss:\/\// });
      await assert.rejects(FedraClient.load({ url, task: 'mnist' }), { code: 'invalid-options' });
      assert.equal(FakeWorker.all.length, 0);
    });
  }
}

for (const url of [
  'ws://localhost:8080/',
  'ws://127.0.0.1:8080/',
  'ws://127.9.9.9/',
  'http://[::1]:8080/',
  'ws://edge.localhost/',
  'wss://example.org/',
]) {
  test(`from an https page ${url} is allowed`, async () => {
    pageAt('https://example.org/app/');
    assert.match(await socketOf(url), /\/v1\/connect$/);
  });
}

test('a page without encryption may use an address without', async () => {
  pageAt('http://example.org/');
  assert.equal(await socketOf('ws://10.0.0.7/'), 'ws://10.0.0.7/v1/connect');
});
