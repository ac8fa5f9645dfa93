// WebAssembly of the page's choice, and hashes that hold it: the page's checks, and the worker's
// loading with a module in place of the generated bindings.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { register } from 'node:module';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeWorker } from './fake-worker.mjs';

/** The smallest module, and another one. */
const EMPTY = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
const OTHER = Uint8Array.of(...EMPTY, 0, 2, 1, 0x78);
const digest = (bytes, encoding) => createHash('sha256').update(bytes).digest(encoding);
const hex = (bytes) => digest(bytes, 'hex');

const script = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
const bindings = script('export default async ({ module_or_path }) => { globalThis.given = await module_or_path; };');
const manifest = script(`export default { files: [{ name: 'fedra_bg.wasm', sha256: '${hex(EMPTY)}' }] };`);
register(
  script(`
  const fakes = ${JSON.stringify({ 'fedra.js': bindings, 'fedra-reader.js': bindings, 'manifest.js': manifest })};
  export const resolve = (specifier, context, next) => {
    const url = fakes[specifier.split('/wasm/')[1]];
    return url ? { url, shortCircuit: true } : next(specifier, context);
  };
`),
);
const { loadModule, loadReaders } = await import('../dist/module.js');
const policy = { explain: (message) => message };

const realFetch = globalThis.fetch;
let served;
let asked;
beforeEach(() => {
  served = EMPTY;
  asked = [];
  delete globalThis.given;
  globalThis.fetch = async (url) => {
    asked.push(String(url));
    return new Response(served);
  };
});
afterEach(() => {
  globalThis.fetch = realFetch;
});

test('without options the bindings are given the address of the package’s own module', async () => {
  await loadModule(policy);
  assert.match(String(globalThis.given), /\/wasm\/fedra_bg\.wasm$/);
  assert.deepEqual(asked, []);
});

for (const [name, source] of [
  ['an address', 'https://cdn.example/fedra_bg.wasm'],
  ['bytes', EMPTY],
  ['a compiled module', new WebAssembly.Module(EMPTY)],
]) {
  test(`${name} goes to the bindings as it is`, async () => {
    await loadModule(policy, { client: source });
    assert.equal(globalThis.given, source);
  });
}

test('the package’s own module runs if it is the one of the manifest', async () => {
  await loadModule(policy, { pin: 'own' });
  assert.ok(globalThis.given instanceof WebAssembly.Module);
  assert.match(asked.join(), /\/wasm\/fedra_bg\.wasm$/);
});

for (const [name, sources] of [
  ['the package’s own module', { pin: 'own' }],
  ['a module from an address', { client: 'https://cdn.example/a.wasm', pin: { 'fedra_bg.wasm': hex(EMPTY) } }],
  ['bytes', { client: OTHER, pin: { 'fedra_bg.wasm': hex(EMPTY) } }],
]) {
  test(`${name} with another hash does not run, and the error has both`, async () => {
    served = OTHER;
    await assert.rejects(loadModule(policy, sources), (error) => {
      assert.equal(error.code, 'wasm-hash-mismatch');
      assert.ok(error.message.includes(hex(OTHER)) && error.message.includes(hex(EMPTY)), error.message);
      assert.match(error.message, /serve the fedra_bg\.wasm of the version/);
      return true;
    });
    assert.equal(globalThis.given, undefined);
  });
}

test('a module that the pin does not name does not run', async () => {
  await assert.rejects(loadReaders(policy, { pin: { 'fedra_bg.wasm': hex(EMPTY) } }), {
    code: 'wasm-hash-mismatch',
    message: /no hash of fedra-reader_bg\.wasm/,
  });
  // The fault does not stay: other sources are loaded.
  await loadReaders(policy, { pin: { 'fedra-reader_bg.wasm': hex(EMPTY) } });
  assert.ok(globalThis.given instanceof WebAssembly.Module);
});

test('where nothing can be hashed nothing runs', async () => {
  const { crypto } = globalThis;
  Object.defineProperty(globalThis, 'crypto', { configurable: true, value: {} });
  try {
    await assert.rejects(loadModule(policy, { pin: 'own' }), { code: 'wasm-load-failed', message: /crypto\.subtle.*https/ });
    assert.equal(globalThis.given, undefined);
  } finally {
    Object.defineProperty(globalThis, 'crypto', { configurable: true, value: crypto });
  }
});

const place = { url: 'wss://example.org', task: 'digits' };

test('the worker is told both, and one that takes its place again', async () => {
  const restore = FakeWorker.install();
  try {
    const bytes = EMPTY.slice();
    const pin = { 'fedra_bg.wasm': hex(EMPTY).toUpperCase(), 'fedra-reader_bg.wasm': `sha256-${digest(OTHER, 'base64')}` };
    const wasm = { client: bytes, reader: new URL('https://cdn.example/reader.wasm') };
    await FedraClient.connect({ ...place, wasm, pin });
    bytes.fill(9);
    const expected = {
      client: EMPTY,
      reader: 'https://cdn.example/reader.wasm',
      pin: { 'fedra_bg.wasm': hex(EMPTY), 'fedra-reader_bg.wasm': hex(OTHER) },
    };
    assert.deepEqual(FakeWorker.last.sent[0].modules, expected);
    FakeWorker.last.onerror({ message: 'unreachable' });
    assert.equal(FakeWorker.all.length, 2);
    assert.deepEqual(FakeWorker.last.sent[0].modules, expected);
    await FedraClient.connect({ ...place, pin: true });
    assert.deepEqual(FakeWorker.last.sent[0].modules, { pin: 'own' });
    await FedraClient.connect({ ...place, pin: false });
    assert.ok(!('modules' in FakeWorker.last.sent[0]));
  } finally {
    restore();
  }
});

for (const [name, options, message] of [
  ['a source of no known kind', { wasm: 7 }, /wasm must be an address, bytes or/],
  ['a module of no known name', { wasm: { clients: EMPTY } }, /client and reader/],
  ['a relative address without a page', { wasm: './a.wasm' }, /wasm must be/],
  ['a pin of no known kind', { pin: 'yes' }, /pin must be true/],
  ['a pin without the client', { pin: { 'fedra-reader_bg.wasm': hex(EMPTY) } }, /fedra_bg\.wasm/],
  ['a pin of no known file', { pin: { 'fedra_bg.wasm': hex(EMPTY), 'fedra.js': hex(EMPTY) } }, /pin has no fedra\.js/],
  ['a hash that is none', { pin: { 'fedra_bg.wasm': 'sha384-abc' } }, /64 hexadecimal digits/],
  ['a compiled module under a pin', { wasm: new WebAssembly.Module(EMPTY), pin: true }, /compiled one has no hash/],
]) {
  test(`${name} is refused`, async () => {
    for (const call of ['connect', 'load']) {
      await assert.rejects(FedraClient[call]({ ...place, ...options }), { code: 'invalid-options', message });
    }
  });
}
