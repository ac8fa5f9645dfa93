import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient, FedraError } from '../dist/index.js';
import { REMEDIES } from '../dist/remedies.js';
import { FakeWorker } from './fake-worker.mjs';

let restore;
beforeEach(() => (restore = FakeWorker.install()));
afterEach(() => restore());

const options = { url: 'ws://127.0.0.1:8080/v1/connect', task: 'mnist' };
const connect = async () => ({ client: await FedraClient.connect(options), worker: FakeWorker.last });
const rejectsWith = (promise, code) => assert.rejects(promise, (error) => error instanceof FedraError && error.code === code);

test('the worker is a module beside the client', async () => {
  const { worker } = await connect();
  assert.ok(worker.url.href.endsWith('/dist/worker.js'));
  assert.deepEqual(worker.options, { type: 'module' });
});

test('every event reaches its listeners as the detail of a CustomEvent', async () => {
  const { client, worker } = await connect();
  const events = [
    { type: 'status', state: 'training', round: 3 },
    { type: 'backend', backend: 'cpu', reason: 'asked for' },
    { type: 'task', id: 'mnist', title: 'Digits', parameters: 7850, input: [784], outputs: 10, loss: 'x' },
    { type: 'round', round: 3, attempt: 0, phase: 'collecting', cohort: 8, reported: 2, left: 0, reportGoal: 8, clientsConnected: 9 },
    { type: 'model', round: 3, sha256: 'ab', bytes: 31400, accuracy: 0.9, loss: 0.3, evaluatedRound: 3 },
    { type: 'progress', round: 3, epoch: 1, epochs: 1, step: 5, steps: 60, loss: 0.4, samplesPerSecond: 8000 },
    { type: 'update', round: 3, outcome: 'accepted' },
    {
      type: 'privacy',
      policy: 'none',
      secureAggregation: false,
      noiseMultiplier: null,
      clippingNorm: null,
      minimumSurvivors: null,
      colluders: null,
      delta: null,
      budgetEpsilon: null,
      roundEpsilon: null,
      spentEpsilon: 0,
      nextEpsilon: null,
      participations: 0,
      maxParticipations: null,
      taskSpentEpsilon: null,
      examplePrivacy: null,
    },
    { type: 'traffic', bytesUp: 10, bytesDown: 20 },
    { type: 'error', code: 'no-server', message: 'nobody answers', fatal: false },
  ];
  const seen = [];
  for (const { type } of events) client.addEventListener(type, (event) => seen.push(event.detail));
  for (const event of events) worker.say({ type: 'event', event });
  // An error comes with its remedy.
  const told = events.map((event) => (event.type === 'error' ? { ...event, remedy: REMEDIES[event.code] } : event));
  assert.deepEqual(seen, told);
  for (const event of told) assert.deepEqual(client.latest(event.type), event);
});

test('a removed listener hears nothing', async () => {
  const { client, worker } = await connect();
  const listener = () => assert.fail('was called');
  client.addEventListener('status', listener);
  client.removeEventListener('status', listener);
  worker.say({ type: 'event', event: { type: 'status', state: 'waiting' } });
});

test('connect rejects with the reason when the module cannot be loaded', async () => {
  FakeWorker.onStart = [{ type: 'failed', code: 'wasm-load-failed', message: 'no such file' }];
  await rejectsWith(FedraClient.connect(options), 'wasm-load-failed');
  assert.ok(FakeWorker.last.terminated);
});

test('connect rejects when the worker itself cannot be loaded', async () => {
  FakeWorker.onStart = [];
  const connecting = FedraClient.connect(options);
  FakeWorker.last.onerror({ message: 'not found' });
  await rejectsWith(connecting, 'worker-failed');
});

test('an abort ends connecting, and a signal aborted before starts nothing', async () => {
  FakeWorker.onStart = [];
  const controller = new AbortController();
  const connecting = FedraClient.connect({ ...options, signal: controller.signal });
  controller.abort();
  await rejectsWith(connecting, 'aborted');
  assert.ok(FakeWorker.last.terminated);
  await rejectsWith(FedraClient.connect({ ...options, signal: controller.signal }), 'aborted');
  assert.equal(FakeWorker.all.length, 1);
});

test('an abort after connecting closes the client', async () => {
  const controller = new AbortController();
  const client = await FedraClient.connect({ ...options, signal: controller.signal });
  controller.abort();
  assert.equal(FakeWorker.last.sent.at(-1).type, 'close');
  FakeWorker.last.say({ type: 'closed' });
  await client.close();
});

test('train copies by default and converts labels and shape', async () => {
  const { client, worker } = await connect();
  const features = Float32Array.of(1, 2, 3, 4);
  const training = client.train({ features, labels: [0, 1], shape: [2, 2] });
  const message = worker.sent.at(-1);
  assert.equal(features.length, 4);
  assert.deepEqual(message.features, features);
  assert.deepEqual(message.labels, Float32Array.of(0, 1));
  assert.deepEqual(message.shape, Uint32Array.of(2, 2));
  assert.equal(message.layout, 'channels-first');
  worker.say({ type: 'done', id: message.id });
  await training;
});

test('train takes buffers over when told to, but only whole ones', async () => {
  const { client, worker } = await connect();
  const features = Float32Array.of(1, 2, 3, 4);
  const labels = new Float32Array(8).subarray(2, 4);
  client.train({ features, labels, shape: [2, 2] }, { transfer: true });
  assert.equal(features.length, 0);
  assert.equal(labels.length, 2);
  assert.deepEqual(worker.sent.at(-1).features, Float32Array.of(1, 2, 3, 4));
  assert.deepEqual(worker.sent.at(-1).labels, Float32Array.of(0, 0));
});

test('a data set that the module refuses rejects with its code', async () => {
  const { client, worker } = await connect();
  const training = client.train({ features: new Float32Array(4), labels: [0, 1], shape: [2, 2] });
  worker.say({ type: 'refused', id: worker.sent.at(-1).id, code: 'bad-dataset', message: 'label 11' });
  await rejectsWith(training, 'bad-dataset');
});

test('answers find their questions, in whatever order they come', async () => {
  const { client, worker } = await connect();
  const first = client.predict(Float32Array.of(1));
  const second = client.predict(Float32Array.of(2));
  const [a, b] = worker.sent.slice(-2);
  worker.say({ type: 'done', id: b.id, probabilities: Float32Array.of(0.2) });
  worker.say({ type: 'done', id: a.id, probabilities: Float32Array.of(0.1) });
  assert.deepEqual(await first, Float32Array.of(0.1));
  assert.deepEqual(await second, Float32Array.of(0.2));
});

test('pause and resume are passed on', async () => {
  const { client, worker } = await connect();
  client.pause();
  client.resume();
  assert.deepEqual(worker.sent.slice(1), [{ type: 'pause' }, { type: 'resume' }]);
});

test('close waits for the worker, rejects what is open, and is final', async () => {
  const { client, worker } = await connect();
  const states = [];
  client.addEventListener('status', ({ detail }) => states.push(detail.state));
  const open = client.predict(Float32Array.of(1));
  const closing = client.close();
  assert.equal(client.close(), closing);
  worker.say({ type: 'closed' });
  await closing;
  await rejectsWith(open, 'closed');
  await rejectsWith(client.predict(Float32Array.of(1)), 'closed');
  assert.throws(() => client.pause(), { code: 'closed' });
  assert.deepEqual(states, ['closed']);
  assert.ok(worker.terminated);
});

test('a worker that dies by itself is started again on the CPU, with the data', async () => {
  const { client, worker } = await connect();
  const trained = client.train({ features: Float32Array.of(1, 2), labels: [0], shape: [1, 2] });
  worker.say({ type: 'done', id: worker.sent.at(-1).id });
  await trained;
  const seen = [];
  client.addEventListener('error', ({ detail }) => seen.push(detail));
  worker.onerror({ message: 'unreachable' });
  assert.deepEqual(
    seen.map(({ code, fatal }) => [code, fatal]),
    [['worker-failed', false]],
  );
  assert.match(seen[0].message, /unreachable.*started again on the CPU/);
  assert.ok(worker.terminated);
  const [started, dataset] = FakeWorker.last.sent;
  assert.deepEqual([started.config.backend, [...dataset.features]], ['cpu', [1, 2]]);
});

test('a worker that dies by itself three times is given up, unless an update was accepted in between', async () => {
  const { client } = await connect();
  const trained = client.train({ features: Float32Array.of(1, 2), labels: [0], shape: [1, 2] });
  const take = () => FakeWorker.last.say({ type: 'done', id: FakeWorker.last.sent.find(({ type }) => type === 'dataset').id });
  take();
  await trained;
  const crash = () => {
    FakeWorker.last.onerror({ message: 'unreachable' });
    const { fatal } = client.latest('error');
    // The data are taken by each new worker: that alone is no progress.
    if (!fatal) take();
    return fatal;
  };
  assert.deepEqual([crash(), crash()], [false, false]);
  FakeWorker.last.say({ type: 'event', event: { type: 'update', round: 3, outcome: 'accepted' } });
  assert.deepEqual([crash(), crash(), crash()], [false, false, true]);
  await rejectsWith(client.predict(Float32Array.of(1)), 'closed');
  assert.equal(client.latest('status').state, 'closed');
  assert.equal(FakeWorker.all.length, 5);
  await client.close();
});

for (const [name, crash] of Object.entries({
  'as an uncaught error': (worker) => worker.onerror({ message: 'memory access out of bounds' }),
  'as a message of the worker': (worker) => worker.say({ type: 'failed', code: 'worker-failed', message: 'memory access out of bounds' }),
})) {
  test(`a call whose worker crashes rejects, and the client lives with its data: ${name}`, async () => {
    const { client, worker } = await connect();
    const trained = client.train({ features: Float32Array.of(1, 2), labels: [0], shape: [1, 2] }, { layout: 'channels-last' });
    worker.say({ type: 'done', id: worker.sent.at(-1).id });
    await trained;
    client.pause();
    const [one, other] = [client.predict(Float32Array.of(1)), client.predict(Float32Array.of(2))];
    crash(worker);
    await assert.rejects(one, { code: 'worker-failed', message: /memory access out of bounds.*fewer examples/ });
    await rejectsWith(other, 'worker-failed');
    assert.ok(worker.terminated);
    assert.equal(client.latest('error').fatal, false);
    const next = FakeWorker.last;
    assert.deepEqual(
      next.sent.map(({ type }) => type),
      ['start', 'dataset', 'pause'],
    );
    assert.equal(next.sent[0].config.backend, 'cpu');
    assert.deepEqual([...next.sent[1].features], [1, 2]);
    assert.equal(next.sent[1].layout, 'channels-last');
    const asked = client.predict(Float32Array.of(3));
    next.say({ type: 'done', id: next.sent.at(-1).id, probabilities: Float32Array.of(1) });
    assert.deepEqual(await asked, Float32Array.of(1));
  });
}

test('a worker that crashes in every call is given up at the third crash, and counted anew after an answer', async () => {
  const { client } = await connect();
  const crash = async () => {
    const asked = client.predict(Float32Array.of(1));
    const rejected = assert.rejects(asked);
    FakeWorker.last.onerror({ message: 'unreachable' });
    await rejected;
    return client.latest('error').fatal;
  };
  assert.deepEqual([await crash(), await crash()], [false, false]);
  const asked = client.predict(Float32Array.of(1));
  FakeWorker.last.say({ type: 'done', id: FakeWorker.last.sent.at(-1).id, probabilities: Float32Array.of(1) });
  await asked;
  assert.deepEqual([await crash(), await crash(), await crash()], [false, false, true]);
  await rejectsWith(client.predict(Float32Array.of(1)), 'closed');
});

test('a worker that cannot be started again ends the client with the reason', async () => {
  const { client, worker } = await connect();
  const asked = client.predict(Float32Array.of(1));
  FakeWorker.onStart = [{ type: 'failed', code: 'wasm-load-failed', message: 'offline' }];
  worker.onerror({ message: 'unreachable' });
  await rejectsWith(asked, 'worker-failed');
  const { code, message, fatal } = client.latest('error');
  assert.deepEqual({ code, message, fatal }, { code: 'wasm-load-failed', message: 'offline', fatal: true });
});

test('data that a crashed worker had not taken are judged by the next one', async () => {
  const { client, worker } = await connect();
  const trained = client.train({ features: new Float32Array([1, 2]), labels: [0], shape: [1, 2] });
  const predicted = client.predict(new Float32Array(2));
  worker.onerror({ message: 'unreachable' });
  await rejectsWith(predicted, 'worker-failed');
  const dataset = FakeWorker.last.sent.at(-1);
  assert.deepEqual([...dataset.features], [1, 2]);
  FakeWorker.last.say({ type: 'done', id: dataset.id });
  await trained;
});

test('a data set that was refused does not take the place of the one before it, not after a crash either', async () => {
  const { client, worker } = await connect();
  const train = (value) => client.train({ features: Float32Array.of(value), labels: [0], shape: [1, 1] });
  const answer = (reply) => worker.say({ ...reply, id: worker.sent.at(-1).id });
  for (const value of [1, 2]) {
    const trained = train(value);
    answer({ type: 'done' });
    await trained;
  }
  const refused = train(3);
  answer({ type: 'refused', code: 'bad-dataset', message: 'label 11' });
  await rejectsWith(refused, 'bad-dataset');
  const open = train(4);
  worker.onerror({ message: 'unreachable' });
  const again = FakeWorker.last.sent.filter(({ type }) => type === 'dataset');
  assert.deepEqual(
    again.map(({ features }) => features[0]),
    [2, 4],
  );
  for (const { id } of again) FakeWorker.last.say({ type: 'done', id });
  await open;
});

test('a client that is closed when its worker crashes starts no other one', async () => {
  const { client, worker } = await connect();
  let closing;
  client.addEventListener('error', () => (closing = client.close()));
  worker.onerror({ message: 'unreachable' });
  await closing;
  assert.equal(FakeWorker.all.length, 1);
  assert.equal(client.latest('status').state, 'closed');
});

test('a signal ends the wait of predict and personalize, and the answer that comes later is dropped', async () => {
  const { client, worker } = await connect();
  for (const ask of [(signal) => client.predict(Float32Array.of(1), { signal }), (signal) => client.personalize({ signal })]) {
    const controller = new AbortController();
    const asked = ask(controller.signal);
    const { id } = worker.sent.at(-1);
    controller.abort();
    await rejectsWith(asked, 'aborted');
    worker.say({ type: 'done', id, probabilities: Float32Array.of(1) });
    const sent = worker.sent.length;
    await rejectsWith(ask(AbortSignal.abort()), 'aborted');
    assert.equal(worker.sent.length, sent);
    await rejectsWith(ask(7), 'invalid-options');
  }
});

test('a client is disposed of by closing it', async () => {
  const { client, worker } = await connect();
  const disposed = client[Symbol.asyncDispose]();
  assert.deepEqual(worker.sent.at(-1), { type: 'close' });
  worker.say({ type: 'closed' });
  await disposed;
  assert.equal(client.latest('status').state, 'closed');
});
