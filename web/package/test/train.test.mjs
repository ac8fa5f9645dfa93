// Data that wait for the task: a limit, an abort, a close, a crash.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeWorker } from './fake-worker.mjs';

let restore;
beforeEach(() => {
  restore = FakeWorker.install();
  mock.timers.enable({ apis: ['setTimeout'] });
});
afterEach(() => {
  restore();
  mock.timers.reset();
});

const data = (value = 1) => ({ features: Float32Array.of(value, 2), labels: [0], shape: [1, 2] });
const connect = async () => {
  const client = await FedraClient.connect({ url: 'ws://127.0.0.1:8080/v1/connect', task: 'mnist' });
  const worker = FakeWorker.last;
  return {
    client,
    worker,
    sent: (type) => worker.sent.filter((message) => message.type === type),
    /** Answers a withdrawal as the module does while the data still wait. */
    withdraws: () => worker.say({ type: 'refused', id: worker.sent.at(-1).id, code: 'aborted', message: 'withdrawn' }),
    says: (event) => worker.say({ type: 'event', event }),
  };
};

test('without the task the data are withdrawn after 30 s, with what is known of the connection', async () => {
  const { client, sent, withdraws, says } = await connect();
  says({ type: 'status', state: 'reconnecting', retryInMs: 500 });
  says({ type: 'error', code: 'no-server', message: 'no answer from 127.0.0.1:8080', fatal: false });
  const trained = client.train(data());
  mock.timers.tick(29_999);
  assert.equal(sent('withdraw').length, 0);
  mock.timers.tick(1);
  assert.deepEqual(sent('withdraw'), [{ type: 'withdraw', id: sent('dataset')[0].id }]);
  withdraws();
  await assert.rejects(trained, ({ code, message, cause }) => {
    assert.equal(code, 'timeout');
    assert.match(message, /mnist was not known within 30 s: no answer from 127\.0\.0\.1:8080/);
    assert.equal(cause.code, 'no-server');
    return true;
  });
  client.pause();
  assert.equal(sent('pause').length, 1, 'the client lives');
});

test('an error from before the connection was back is no reason', async () => {
  const { client, withdraws, says } = await connect();
  says({ type: 'error', code: 'no-server', message: 'no answer', fatal: false });
  says({ type: 'status', state: 'waiting' });
  const trained = client.train(data(), { timeout: 1500 });
  mock.timers.tick(1500);
  withdraws();
  await assert.rejects(trained, { code: 'timeout', message: 'the task mnist was not known within 1.5 s' });
});

test('an endless timeout waits on', async () => {
  const { client, worker, sent } = await connect();
  const trained = client.train(data(), { timeout: Infinity });
  mock.timers.tick(2 ** 31);
  assert.equal(sent('withdraw').length, 0);
  worker.say({ type: 'done', id: worker.sent.at(-1).id });
  await trained;
});

test('an abort withdraws the data, and one before does not give them', async () => {
  const { client, sent, withdraws } = await connect();
  const controller = new AbortController();
  const trained = client.train(data(), { signal: controller.signal });
  controller.abort(new Error('changed my mind'));
  withdraws();
  await assert.rejects(trained, ({ code, cause }) => code === 'aborted' && cause.message === 'changed my mind');
  await assert.rejects(client.train(data(), { signal: controller.signal }), { code: 'aborted' });
  assert.deepEqual([sent('dataset').length, sent('withdraw').length], [1, 1]);
});

test('data that were taken before the abort arrived stay, and the call resolves', async () => {
  const { client, worker, sent } = await connect();
  const controller = new AbortController();
  const trained = client.train(data(), { signal: controller.signal });
  controller.abort();
  worker.say({ type: 'done', id: sent('dataset')[0].id });
  await trained;
});

test('after the answer neither the limit nor the abort does anything', async () => {
  const { client, worker, sent } = await connect();
  const controller = new AbortController();
  const trained = client.train(data(), { signal: controller.signal });
  worker.say({ type: 'done', id: worker.sent.at(-1).id });
  await trained;
  controller.abort();
  mock.timers.tick(60_000);
  assert.equal(sent('withdraw').length, 0);
});

test('a later call replaces what waits: each hears its own answer', async () => {
  const { client, worker, sent } = await connect();
  const [first, second] = [client.train(data(1)), client.train(data(2))];
  const [one, two] = sent('dataset');
  worker.say({ type: 'refused', id: one.id, code: 'aborted', message: 'newer data took their place' });
  worker.say({ type: 'done', id: two.id });
  await assert.rejects(first, { code: 'aborted', message: 'newer data took their place' });
  await second;
});

test('closing while data wait rejects the call', async () => {
  const { client, worker } = await connect();
  const trained = client.train(data());
  const closing = client.close();
  worker.say({ type: 'closed' });
  await closing;
  await assert.rejects(trained, { code: 'closed' });
  mock.timers.tick(60_000);
  await assert.rejects(client.train(data()), { code: 'closed' });
});

test('data that wait when the worker crashes are given to the next one, and count there', async () => {
  const { client, worker } = await connect();
  const trained = client.train(data(7));
  worker.onerror({ message: 'unreachable' });
  const again = FakeWorker.last.sent.find(({ type }) => type === 'dataset');
  assert.equal(again.features[0], 7);
  FakeWorker.last.say({ type: 'done', id: again.id });
  await trained;
});

test('data that were withdrawn when the worker crashes are withdrawn from the next one', async () => {
  const { client, worker } = await connect();
  const trained = client.train(data(), { timeout: 10 });
  mock.timers.tick(10);
  worker.onerror({ message: 'unreachable' });
  const { sent } = FakeWorker.last;
  assert.deepEqual(
    sent.map(({ type }) => type),
    ['start', 'dataset', 'withdraw'],
  );
  assert.equal(sent[2].id, sent[1].id);
  FakeWorker.last.say({ type: 'refused', id: sent[1].id, code: 'aborted', message: 'withdrawn' });
  await assert.rejects(trained, { code: 'timeout' });
});

test('arrays that are taken over may be one and the same', async () => {
  const { client, worker } = await connect();
  const both = Float32Array.of(1, 2);
  const trained = client.train({ features: both, labels: both, shape: [2, 1] }, { transfer: true });
  assert.equal(both.length, 0);
  const { features, labels, id } = worker.sent.at(-1);
  assert.deepEqual(
    [[...features], [...labels]],
    [
      [1, 2],
      [1, 2],
    ],
  );
  worker.say({ type: 'done', id });
  await trained;
});
