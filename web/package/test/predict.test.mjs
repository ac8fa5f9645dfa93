// A model in the thread that imports it, with a module in place of the WebAssembly.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { register } from 'node:module';
import { afterEach, beforeEach, test } from 'node:test';

const EMPTY = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
const hashOf = (bytes) => createHash('sha256').update(bytes).digest('hex');
const script = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
const bindings = script(`
  export default async ({ module_or_path }) => { globalThis.initialised = await module_or_path; };
  export class Predictor {
    inputShape = Uint32Array.of(2);
    outputs = 1;
    constructor(file) {
      if (file[0] === 0) throw Object.assign(new Error('a layer that only a newer version knows'), { code: 'bad-model' });
    }
    async predict(features) {
      if (features[0] === 666) throw new WebAssembly.RuntimeError('unreachable');
      if (features.length % 2) throw Object.assign(new Error('1 value'), { code: 'bad-features' });
      return features.map((value) => -value);
    }
    free() { globalThis.freed += 1; }
  }
`);
const manifest = script(`export default { files: [{ name: 'fedra_bg.wasm', sha256: '${hashOf(EMPTY)}' }] };`);
register(
  script(`
  const fakes = ${JSON.stringify({ 'fedra.js': bindings, 'manifest.js': manifest })};
  export const resolve = (specifier, context, next) => {
    const url = fakes[specifier.split('/wasm/')[1]];
    return url ? { url, shortCircuit: true } : next(specifier, context);
  };
`),
);
const { load } = await import('../dist/predict.js');

const realFetch = globalThis.fetch;
let file;
beforeEach(() => {
  file = new TextEncoder().encode('a model');
  globalThis.freed = 0;
  globalThis.fetch = async (url) => {
    if (String(url).endsWith('.wasm')) return new Response(EMPTY);
    const model = { sha256: hashOf(file), url: `../models/${hashOf(file)}`, bytes: file.length, round: 12 };
    return /\/tasks\//.test(url) ? Response.json({ model }) : new Response(file);
  };
});
afterEach(() => {
  globalThis.fetch = realFetch;
});
const place = { url: 'https://example.org', task: 'digits' };

test('a model predicts without a worker, several at once, until it is closed', async () => {
  assert.equal(globalThis.Worker, undefined);
  const [one, other] = [await load(place), await load(place)];
  assert.deepEqual([one.round, one.inputShape, one.outputs], [12, [2], 1]);
  const given = Float32Array.of(1, 2);
  assert.deepEqual(await Promise.all([one.predict(given), other.predict(given)]), [Float32Array.of(-1, -2), Float32Array.of(-1, -2)]);
  assert.equal(given.length, 2);
  one.close();
  await new Promise(setImmediate);
  assert.equal(globalThis.freed, 1);
  await assert.rejects(one.predict(given), { code: 'closed' });
  assert.deepEqual(await other.predict(given), Float32Array.of(-1, -2));
});

test('refusals have the codes of other models', async () => {
  const model = await load(place);
  await assert.rejects(model.predict(Float32Array.of(1)), { name: 'FedraError', code: 'bad-features' });
  await assert.rejects(model.predict(Float32Array.of(1, NaN)), { code: 'bad-input', message: /features\[1\]/ });
  await assert.rejects(load({ ...place, worker: () => {} }), { code: 'invalid-options', message: /has no worker/ });
  file = Uint8Array.of(0);
  await assert.rejects(load(place), { code: 'bad-model', message: /newer version/ });
});

test('pins hold', async () => {
  await load({ ...place, pin: true });
  assert.ok(globalThis.initialised instanceof WebAssembly.Module);
  await assert.rejects(load({ ...place, pin: { 'fedra_bg.wasm': 'ab'.repeat(32) } }), { code: 'wasm-hash-mismatch' });
});

test('after a crash the thread has no module, and says so', async () => {
  const model = await load(place);
  await assert.rejects(model.predict(Float32Array.of(666, 1)), { code: 'worker-failed', message: /unreachable/ });
  for (const call of [model.predict(Float32Array.of(1, 2)), load(place)]) {
    await assert.rejects(call, { code: 'worker-failed', message: /start the thread again/ });
  }
});
