// A model without a session: its download, refusals, and a crash of its worker.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeWorker } from './fake-worker.mjs';

const LOADED = { type: 'loaded', inputShape: [1, 28, 28], outputs: 10 };
const FILE = new TextEncoder().encode('a model');
const hashOf = (bytes) => createHash('sha256').update(bytes).digest('hex');
const options = { url: 'https://example.org/fed', task: 'digits' };

let restore;
let answers;
let asked;
const realFetch = globalThis.fetch;
beforeEach(() => {
  restore = FakeWorker.install([LOADED]);
  asked = [];
  answers = describing(FILE);
  globalThis.fetch = async (url, { signal }) => {
    asked.push(String(url));
    signal?.throwIfAborted();
    return answers(String(url), signal);
  };
});
afterEach(() => {
  restore();
  globalThis.fetch = realFetch;
});

const description = (file, more) => ({
  state: 'finished',
  model: { sha256: hashOf(file), url: `../models/${hashOf(file)}`, bytes: file.length, round: 12, parameters: 7, ...more },
});
/** An aggregator with one task, whose model is `file`. */
const describing = (file, more) => (url) => (/\/tasks\//.test(url) ? Response.json(description(file, more)) : new Response(file));
const rejects = (promise, code, message = /./) => assert.rejects(promise, { name: 'FedraError', code, message });
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('the newest model is fetched beside the socket’s address, and given to a worker', async () => {
  const model = await FedraClient.load(options);
  assert.deepEqual(asked, ['https://example.org/fed/v1/tasks/digits', `https://example.org/fed/v1/models/${hashOf(FILE)}`]);
  const { sent } = FakeWorker.last;
  assert.deepEqual(sent, [{ type: 'load', file: FILE }]);
  assert.deepEqual([model.round, model.sha256, model.inputShape, model.outputs], [12, hashOf(FILE), [1, 28, 28], 10]);
});

test('the frozen layers of a model are a second file, which is checked too', async () => {
  const part = new TextEncoder().encode('frozen');
  const frozen = { sha256: hashOf(part), url: `../models/${hashOf(part)}`, bytes: part.length, parameters: 3 };
  const serve = (file) => (url) => (url.endsWith(hashOf(part)) ? new Response(file) : describing(FILE, { frozen })(url));
  answers = serve(part);
  await FedraClient.load(options);
  assert.deepEqual(FakeWorker.last.sent, [{ type: 'load', file: FILE, frozen: part }]);
  assert.equal(asked.length, 3);
  answers = serve(FILE);
  await rejects(FedraClient.load(options), 'model-unavailable', /damaged on its way/);
  answers = describing(FILE, { frozen: { ...frozen, bytes: 'many' } });
  await rejects(FedraClient.load(options), 'no-server', /not an aggregator of this version/);
});

test('it is asked as a client is, several times at once', async () => {
  const model = await FedraClient.load(options);
  const given = Float32Array.of(1, 2);
  const [one, other] = [model.predict(given), model.predict(Float32Array.of(3))];
  await settled();
  assert.equal(given.length, 2, 'the examples are copied');
  const worker = FakeWorker.last;
  const [first, second] = worker.sent.slice(1);
  worker.say({ type: 'done', id: second.id, probabilities: Float32Array.of(0.2) });
  worker.say({ type: 'done', id: first.id, probabilities: Float32Array.of(0.1) });
  assert.deepEqual([await one, await other], [Float32Array.of(0.1), Float32Array.of(0.2)]);
  const refused = model.predict(Float32Array.of(1));
  await settled();
  worker.say({ type: 'refused', id: worker.sent.at(-1).id, code: 'bad-features', message: '1 value' });
  await rejects(refused, 'bad-features');
  await rejects(model.predict([1]), 'bad-input');
});

test('a model that was replaced meanwhile is not waited for: the next one is fetched', async () => {
  const newer = new TextEncoder().encode('a newer model');
  let described = 0;
  answers = (url) => {
    if (/\/tasks\//.test(url)) return Response.json(description(described++ === 0 ? FILE : newer));
    return url.includes(hashOf(newer)) ? new Response(newer) : new Response(null, { status: 404 });
  };
  assert.equal((await FedraClient.load(options)).sha256, hashOf(newer));
});

for (const [name, respond, code, message] of [
  [
    'no server',
    () => Promise.reject(new TypeError('Failed to fetch')),
    'no-server',
    /https:\/\/example\.org\/fed\/v1\/tasks\/digits.*Failed to fetch/,
  ],
  ['a server that is not well', () => new Response(null, { status: 503 }), 'no-server', /answered 503/],
  ['a server that is no aggregator', () => new Response('<!doctype html>'), 'no-server', /not what an aggregator sends/],
  ['an answer that lacks the model', () => Response.json({ id: 'digits' }), 'no-server', /not an aggregator of this version/],
  ['an unknown task', () => new Response(null, { status: 404 }), 'unknown-task', /tasks\/digits/],
  [
    'a model that is gone',
    (url) => (/\/tasks\//.test(url) ? Response.json(description(FILE)) : new Response(null, { status: 404 })),
    'model-unavailable',
    /no longer has/,
  ],
  [
    'another file',
    (url) => (/\/tasks\//.test(url) ? Response.json(description(FILE)) : new Response('b model')),
    'model-unavailable',
    /damaged/,
  ],
]) {
  test(`${name} is ${code}, and no worker starts`, async () => {
    answers = respond;
    await rejects(FedraClient.load(options), code, message);
    assert.equal(FakeWorker.all.length, 0);
    assert.ok(asked.length <= 3, `${asked.length} requests`);
  });
}

test('a model that the module does not know rejects with the module’s code', async () => {
  FakeWorker.onStart = [{ type: 'failed', code: 'bad-model', message: 'layer 3 is new' }];
  await rejects(FedraClient.load(options), 'bad-model', /layer 3 is new/);
  assert.ok(FakeWorker.last.terminated);
});

test('without crypto.subtle the length is checked', async () => {
  const { crypto } = globalThis;
  Object.defineProperty(globalThis, 'crypto', { configurable: true, value: {} });
  try {
    answers = describing(FILE, { sha256: 'ab'.repeat(32) });
    await FedraClient.load(options);
    answers = describing(FILE, { bytes: FILE.length + 1 });
    await rejects(FedraClient.load(options), 'model-unavailable');
  } finally {
    Object.defineProperty(globalThis, 'crypto', { configurable: true, value: crypto });
  }
});

test('a crash costs the calls that were open; the next call starts another worker with the same model', async () => {
  const model = await FedraClient.load(options);
  const worker = FakeWorker.last;
  const open = [model.predict(Float32Array.of(1)), model.predict(Float32Array.of(2))];
  await settled();
  worker.say({ type: 'failed', code: 'worker-failed', message: 'unreachable' });
  for (const call of open) await rejects(call, 'worker-failed', /unreachable.*fewer examples/);
  assert.ok(worker.terminated);
  const both = [model.predict(Float32Array.of(3)), model.predict(Float32Array.of(4))];
  await settled();
  assert.equal(FakeWorker.all.length, 2, 'one worker for both');
  const next = FakeWorker.last;
  assert.deepEqual(next.sent[0], { type: 'load', file: FILE });
  for (const { id } of next.sent.slice(1)) next.say({ type: 'done', id, probabilities: Float32Array.of(1) });
  await Promise.all(both);
  assert.equal(asked.length, 2, 'nothing is fetched again');
});

test('a worker that does not start again costs the call, and the one after it tries anew', async () => {
  const model = await FedraClient.load(options);
  FakeWorker.last.onerror({ message: 'unreachable' });
  FakeWorker.onStart = [{ type: 'failed', code: 'wasm-load-failed', message: 'offline' }];
  await rejects(model.predict(Float32Array.of(1)), 'wasm-load-failed');
  FakeWorker.onStart = [LOADED];
  const asking = model.predict(Float32Array.of(1));
  await settled();
  FakeWorker.last.say({ type: 'done', id: FakeWorker.last.sent.at(-1).id, probabilities: Float32Array.of(1) });
  await asking;
});

test('closing rejects what is open and is final', async () => {
  const model = await FedraClient.load(options);
  const open = model.predict(Float32Array.of(1));
  await settled();
  model.close();
  model.close();
  await rejects(open, 'closed');
  await rejects(model.predict(Float32Array.of(1)), 'closed');
  await settled();
  assert.ok(FakeWorker.last.terminated);
});

test('an abort ends loading wherever it is, and closes a model that is there', async () => {
  await rejects(FedraClient.load({ ...options, signal: AbortSignal.abort() }), 'aborted');
  assert.equal(asked.length, 0);

  const fetching = new AbortController();
  answers = (_url, signal) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const loading = FedraClient.load({ ...options, signal: fetching.signal });
  await settled();
  fetching.abort();
  await rejects(loading, 'aborted');

  answers = describing(FILE);
  FakeWorker.onStart = [];
  const starting = new AbortController();
  const loaded = FedraClient.load({ ...options, signal: starting.signal });
  while (FakeWorker.all.length === 0) await settled();
  starting.abort();
  await rejects(loaded, 'aborted');
  assert.ok(FakeWorker.last.terminated);

  FakeWorker.onStart = [LOADED];
  const later = new AbortController();
  const model = await FedraClient.load({ ...options, signal: later.signal });
  later.abort();
  await rejects(model.predict(Float32Array.of(1)), 'closed');
});

test('a signal ends the wait of predict', async () => {
  const model = await FedraClient.load(options);
  const controller = new AbortController();
  const asked = model.predict(Float32Array.of(1), { signal: controller.signal });
  await settled();
  controller.abort();
  await rejects(asked, 'aborted');
  await rejects(model.predict(Float32Array.of(1), { signal: AbortSignal.abort() }), 'aborted');
});

test('a model is disposed of by closing it', async () => {
  for (const dispose of [Symbol.dispose, Symbol.asyncDispose]) {
    const model = await FedraClient.load(options);
    await model[dispose]();
    await rejects(model.predict(Float32Array.of(1)), 'closed');
  }
});
