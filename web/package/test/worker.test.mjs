// The worker's side, with a module in place of the WebAssembly that records its
// config.
import assert from 'node:assert/strict';
import { register } from 'node:module';
import { afterEach, beforeEach, test } from 'node:test';

const script = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
const fake = script(`
  export default async () => globalThis.module.init?.();
  export class EdgeClient {
    constructor(...given) {
      Object.assign(this, globalThis.module.client?.(...given));
      globalThis.module.given = given;
      globalThis.module.made = this;
    }
    run() { return new Promise((resolve) => (this.close = () => { this.isClosed = true; resolve(); })); }
  }
  export class Predictor {
    inputShape = Uint32Array.of(2);
    outputs = 1;
    constructor(file) {
      if (file.length === 0) throw Object.assign(new Error('a layer that only a newer version knows'), { code: 'bad-model' });
    }
    async predict(features) { return features.map((value) => -value); }
  }
`);
const fakeReaders = script(`
  export default async () => {};
  export class DataReader {
    constructor(...given) {
      Object.assign(this, globalThis.module.reader);
      globalThis.module.read = given;
    }
  }
  export const __wbg_reset_state = () => { globalThis.module.resets += 1; };
`);
register(
  script(`
  const fakes = { 'fedra.js': ${JSON.stringify(fake)}, 'fedra-reader.js': ${JSON.stringify(fakeReaders)} };
  export const resolve = (specifier, context, next) => {
    const url = fakes[specifier.split('/wasm/')[1]];
    // Each worker has modules of its own, as threads have.
    const [, query] = (context.parentURL ?? '').split('.js?');
    return url ? { url, shortCircuit: true } : next(query ? specifier + '?' + query : specifier, context);
  };
`),
);

const settled = () => new Promise((resolve) => setImmediate(resolve));
let workers = 0;

/** A worker: its posted messages, and a function that sends it one. */
async function open() {
  const posted = [];
  const self = new EventTarget();
  const ready = new Promise((resolve) => {
    self.postMessage = (message) => {
      posted.push(structuredClone(message));
      if (['started', 'loaded', 'failed'].includes(message.type)) resolve(message);
    };
  });
  globalThis.self = self;
  await import(`../dist/worker.js?${++workers}`);
  const violate = (effectiveDirective, blockedURI) =>
    self.dispatchEvent(Object.assign(new Event('securitypolicyviolation'), { effectiveDirective, blockedURI, disposition: 'enforce' }));
  return { posted, ready, violate, tell: (data) => self.onmessage({ data }) };
}

/** A started worker, and the module's config. `client` makes the members of the module's client. */
async function start(token, { backend = 'cpu', client } = {}) {
  globalThis.module.client = client;
  const worker = await open();
  worker.tell({ type: 'start', config: { url: 'ws://x:1/', task: 'mnist', backend, privacy: {}, token } });
  assert.equal((await worker.ready).type, 'started');
  const [config, listen, record, residual, ask] = globalThis.module.given;
  return { ...worker, config, listen, record, residual, ask };
}

beforeEach(() => {
  globalThis.module = { resets: 0 };
});
afterEach(() => {
  for (const name of ['self', 'module']) delete globalThis[name];
});

test('without tokens the module has nobody to ask, and is told nothing of them', async () => {
  const { config, ask } = await start('none');
  assert.equal(ask, undefined);
  assert.deepEqual(Object.keys(config).sort(), ['backend', 'privacy', 'task', 'url']);
});

test('a question of the module goes to the page, and the answer comes back to it', async () => {
  const { posted, tell, ask } = await start('ask');
  const [first, second] = [ask(), ask()];
  const [one, two] = posted.slice(-2);
  assert.deepEqual([one.type, two.type], ['ask-token', 'ask-token']);
  assert.notEqual(one.id, two.id);
  tell({ type: 'token', id: two.id, token: 'b' });
  tell({ type: 'token', id: one.id, token: 'a' });
  assert.deepEqual(await Promise.all([first, second]), ['a', 'b']);
});

test('what keeps the page from answering is the reason that the module hears', async () => {
  const { posted, tell, ask } = await start('ask');
  const asked = ask();
  tell({ type: 'no-token', id: posted.at(-1).id, message: 'not signed in' });
  await assert.rejects(asked, /not signed in/);
  // An answer to nothing is nothing.
  tell({ type: 'token', id: 99, token: 'c' });
  await settled();
  assert.ok(posted.every(({ type }) => type !== 'failed'));
});

test('a count waits until the page has stored it', async () => {
  const { posted, tell, record } = await start('none');
  const [first, second] = [record(1), record(2)];
  const [one, two] = posted.slice(-2);
  assert.deepEqual(
    [one, two],
    [
      { type: 'record', id: one.id, participations: 1 },
      { type: 'record', id: two.id, participations: 2 },
    ],
  );
  const order = [];
  first.then(() => order.push('first'));
  await settled();
  assert.deepEqual(order, []);
  tell({ type: 'recorded', id: one.id });
  await first;
  tell({ type: 'not-recorded', id: two.id, message: 'the storage is full' });
  await assert.rejects(second, /the storage is full/);
});

const data = {
  type: 'dataset',
  id: 5,
  features: Float32Array.of(1),
  labels: Float32Array.of(0),
  shape: Uint32Array.of(1, 1),
  layout: 'channels-last',
};

test('data are judged by the module, which may take its time', async () => {
  const given = [];
  const { posted, tell } = await start('none', {
    client: () => ({ setDataset: (...all) => new Promise((resolve, reject) => given.push([all, resolve, reject])) }),
  });
  tell(data);
  tell({ ...data, id: 6 });
  await settled();
  assert.deepEqual(given[0][0], [data.features, data.labels, data.shape, 'channels-last']);
  given[0][2](Object.assign(new Error('the model takes 784 values'), { code: 'bad-dataset' }));
  given[1][1]();
  await settled();
  assert.deepEqual(posted.slice(-2), [
    { type: 'refused', id: 5, code: 'bad-dataset', message: 'the model takes 784 values' },
    { type: 'done', id: 6 },
  ]);
});

test('only the newest data can be withdrawn', async () => {
  let withdrawals = 0;
  const client = () => ({ setDataset: () => new Promise(() => {}), withdrawDataset: () => withdrawals++ });
  const { tell } = await start('none', { client });
  tell(data);
  tell({ ...data, id: 6 });
  tell({ type: 'withdraw', id: 5 });
  await settled();
  assert.equal(withdrawals, 0);
  tell({ type: 'withdraw', id: 6 });
  await settled();
  assert.equal(withdrawals, 1);
});

test('a call in which the module crashes is the end of this worker, not an answer', async () => {
  const { posted, tell } = await start('none', {
    client: () => ({
      predict: async () => {
        throw new WebAssembly.RuntimeError('unreachable');
      },
    }),
  });
  tell({ type: 'predict', id: 7, features: Float32Array.of(1) });
  await settled();
  assert.deepEqual(posted.at(-1), { type: 'failed', code: 'worker-failed', message: 'unreachable' });
  assert.ok(posted.every(({ type }) => type !== 'refused'));
});

test('a model without a session answers predictions and nothing else', async () => {
  const { posted, ready, tell } = await open();
  tell({ type: 'load', file: Uint8Array.of(1) });
  assert.deepEqual(await ready, { type: 'loaded', inputShape: [2], outputs: 1 });
  tell({ type: 'predict', id: 1, features: Float32Array.of(1, 2) });
  tell(data);
  await settled();
  assert.deepEqual(
    posted.find(({ id }) => id === 1),
    { type: 'done', id: 1, probabilities: Float32Array.of(-1, -2) },
  );
  assert.equal(posted.find(({ id }) => id === 5).type, 'refused');
});

test('a model that this version does not know is refused with the module’s code', async () => {
  const { ready, tell } = await open();
  tell({ type: 'load', file: new Uint8Array() });
  assert.deepEqual(await ready, { type: 'failed', code: 'bad-model', message: 'a layer that only a newer version knows' });
});

for (const backend of ['auto', 'webgpu', 'cpu']) {
  test(`the choice of the device is the module’s, and its events are passed on as they are: ${backend}`, async () => {
    const { posted, config, listen } = await start('none', { backend });
    assert.equal(config.backend, backend);
    assert.deepEqual(posted, [{ type: 'started' }]);
    const event = { type: 'backend', backend: 'webgpu', reason: '3.1 times as fast as the CPU on this model', adapter: 'Card 1' };
    listen(event);
    assert.deepEqual(posted.at(-1), { type: 'event', event });
  });
}

test('a module that a policy blocks is an error that names the directive', async () => {
  const { ready, tell, violate } = await open();
  globalThis.module.init = () => {
    // The order of a browser that reports late.
    setTimeout(() => violate('script-src', 'wasm-eval'));
    throw new Error('refused to compile');
  };
  tell({ type: 'load', file: Uint8Array.of(1) });
  const { code, message } = await ready;
  assert.equal(code, 'wasm-load-failed');
  assert.match(message, /module\.js.*refused to compile.*script-src must have 'wasm-unsafe-eval'/);
});

test('a policy that blocks the aggregator ends the client, and one that blocks another address does not', async () => {
  const { posted, violate } = await start('none');
  violate('connect-src', 'ws://x:2/');
  violate('connect-src', 'https://elsewhere.example/');
  assert.ok(!globalThis.module.made.isClosed);
  violate('connect-src', 'ws://x:1/v1/connect');
  const { event } = posted.at(-1);
  assert.deepEqual([event.code, event.fatal], ['blocked-by-policy', true]);
  assert.match(event.message, /connect-src must have ws:\/\/x:1$/);
  await settled();
  assert.equal(posted.at(-1).type, 'closed');
});

const task = [Uint8Array.of(1), Uint32Array.of(2), 0, 1];
const arrays = { features: Float32Array.of(1, 2), labels: Uint32Array.of(7), shape: Uint32Array.of(1, 2) };
const files = { type: 'files', id: 8, options: { seed: 3 }, files: [{ source: new Blob(['x,y']), name: 'a.csv', isLabels: false }] };
/** A reader that takes anything. */
const reader = { examples: 0, open() {}, push() {}, close() {}, arrays: () => arrays };

/** Settles once the worker has answered so; an answer of another kind is a failure. */
async function answers(posted, wanted, number = 8) {
  const answer = () => posted.find(({ type, id }) => id === number && (type === 'done' || type === 'refused'));
  while (!answer()) await settled();
  assert.equal(answer().type, wanted, answer().message);
}

test('files are read as the task describes them, and given to the client as arrays', async () => {
  let given;
  const client = () => ({ dataDescription: async () => task, setRead: async (...all) => (given = all) });
  const { posted, tell } = await start('none', { client });
  globalThis.module.reader = reader;
  tell(files);
  await answers(posted, 'done');
  assert.deepEqual(globalThis.module.read, [...task, { seed: 3 }]);
  assert.deepEqual(given, [arrays.features, Float32Array.of(7), arrays.shape, task[0]], 'with the description');
  assert.equal(globalThis.module.resets, 1);
});

test('the memory of two readings is given back after both', async () => {
  const resets = [];
  const client = () => ({ dataDescription: async () => task, setRead: async () => {} });
  const { posted, tell } = await start('none', { client });
  globalThis.module.reader = reader;
  let go;
  const later = new ReadableStream({ pull: (controller) => new Promise((resolve) => (go = resolve)).then(() => controller.close()) });
  const slow = Object.assign(new Blob(['x']), { stream: () => later });
  tell({ ...files, type: 'read', id: 9, files: [{ ...files.files[0], source: slow }] });
  tell(files);
  await answers(posted, 'done');
  resets.push(globalThis.module.resets);
  go();
  await answers(posted, 'done', 9);
  resets.push(globalThis.module.resets);
  assert.deepEqual(resets, [0, 1]);
});

for (const [how, source, name, code] of [
  ['is given up', new Blob(['x,y']), 'a.csv', 'aborted'],
  ['fails', new Blob(['no gzip']), 'a.csv.gz', 'bad-dataset'],
]) {
  test(`a reading that ${how} gives its memory back`, async () => {
    const { posted, tell } = await start('none', { client: () => ({ dataDescription: async () => task, withdrawDataset() {} }) });
    globalThis.module.reader = { ...reader, push: () => tell({ type: 'withdraw', id: 8 }) };
    tell({ ...files, files: [{ source, name, isLabels: false }] });
    await answers(posted, 'refused');
    assert.equal(posted.at(-1).code, code);
    assert.equal(globalThis.module.resets, 1);
  });
}
