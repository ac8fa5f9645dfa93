// Sources of the worker, and the error when it does not start.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeWorker } from './fake-worker.mjs';

let restore;
beforeEach(() => {
  restore = FakeWorker.install();
  globalThis.origin = 'https://example.org';
  globalThis.location = new URL('https://example.org/app/');
});
afterEach(() => {
  restore();
  for (const name of ['origin', 'location', 'document']) delete globalThis[name];
});

const options = { url: 'wss://example.org/v1/connect', task: 'mnist' };
const connect = (worker) => FedraClient.connect({ ...options, ...(worker === undefined ? {} : { worker }) });
const violate = (effectiveDirective, blockedURI, disposition = 'enforce') =>
  document.dispatchEvent(Object.assign(new Event('securitypolicyviolation'), { effectiveDirective, blockedURI, disposition }));

test('a worker of the page’s own origin is started at its address, relative to the page', async () => {
  await connect('workers/fedra.js');
  assert.equal(FakeWorker.last.url, 'https://example.org/app/workers/fedra.js');
  assert.deepEqual(FakeWorker.last.options, { type: 'module' });
});

test('a worker of another origin is imported by a script of this one, the same for each client', async () => {
  await connect(new URL('https://cdn.example/fedra/worker.js'));
  const { url } = FakeWorker.last;
  assert.match(url, /^blob:/);
  const script = await fetch(url).then((answer) => answer.text());
  assert.match(script, /import\("https:\/\/cdn\.example\/fedra\/worker\.js"\)/);
  await connect('https://cdn.example/fedra/worker.js');
  assert.equal(FakeWorker.last.url, url);
  await connect('https://cdn.example/other.js');
  assert.notEqual(FakeWorker.last.url, url);
});

test('a page of no origin imports what it may not run', async () => {
  globalThis.origin = 'null';
  await connect('https://example.org/worker.js');
  assert.match(FakeWorker.last.url, /^blob:/);
});

test('a function makes each worker, the one after a crash too', async () => {
  let made = 0;
  const client = await connect(() => new FakeWorker(`made ${++made}`));
  assert.equal(FakeWorker.last.url, 'made 1');
  client.predict(Float32Array.of(1)).catch(() => {});
  FakeWorker.last.onerror({ message: 'unreachable' });
  assert.equal(FakeWorker.last.url, 'made 2');
  assert.equal(FakeWorker.last.sent[0].type, 'start');
});

test('a function that throws is named in the error', () =>
  assert.rejects(
    connect(() => {
      throw new Error('no CSP');
    }),
    { code: 'worker-failed', message: /option worker.*no CSP/ },
  ));

test('a browser that refuses a worker is quoted, with the address', () => {
  globalThis.Worker = class {
    constructor() {
      throw new DOMException('denied', 'SecurityError');
    }
  };
  return assert.rejects(connect('/worker.js'), { code: 'worker-failed', message: /https:\/\/example\.org\/worker\.js.*denied/ });
});

for (const [directive, blocked, source] of [
  ['worker-src', 'https://example.org/worker.js', 'https://example.org'],
  ['worker-src', 'blob', 'blob:'],
  ['script-src-elem', 'https://cdn.example/x.js', 'https://cdn.example'],
]) {
  test(`a worker that a policy blocks is an error that asks for ${source} in ${directive}`, async () => {
    globalThis.document = new EventTarget();
    FakeWorker.onStart = [];
    const connecting = connect('/worker.js');
    // The order of a browser that reports late.
    FakeWorker.last.onerror({});
    violate(directive, blocked);
    await assert.rejects(connecting, ({ code, message }) => {
      assert.equal(code, 'worker-failed');
      assert.ok(message.includes('https://example.org/worker.js'), message);
      assert.ok(message.includes(`${directive.replace('-elem', '')} must have ${source}`), message);
      return true;
    });
    assert.ok(FakeWorker.last.terminated);
  });
}

test('a policy on trial is not the reason', async () => {
  globalThis.document = new EventTarget();
  FakeWorker.onStart = [];
  const connecting = connect('/worker.js');
  violate('worker-src', 'https://example.org/worker.js', 'report');
  FakeWorker.last.onerror({});
  await assert.rejects(connecting, { message: /could not be loaded; it must be there/ });
});
