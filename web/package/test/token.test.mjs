// Tokens: the worker asks before every connection, the page answers.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeWorker } from './fake-worker.mjs';

let restore;
beforeEach(() => (restore = FakeWorker.install()));
afterEach(() => restore());

const options = { url: 'ws://127.0.0.1:8080/v1/connect', task: 'mnist' };
const settled = () => new Promise((resolve) => setImmediate(resolve));
const connect = async (token) => {
  const client = await FedraClient.connect({ ...options, ...(token === undefined ? {} : { token }) });
  const worker = FakeWorker.last;
  const ask = async (id) => {
    worker.say({ type: 'ask-token', id });
    await settled();
    return worker.sent.at(-1);
  };
  return { client, worker, ask };
};

test('without a token the worker is told not to ask', async () => {
  const { worker } = await connect();
  assert.equal(worker.sent[0].config.token, 'none');
});

test('the token itself is not in what the worker starts with', async () => {
  const { worker } = await connect('e30.s3cr3t.c2ln');
  assert.equal(worker.sent[0].config.token, 'ask');
  assert.ok(!JSON.stringify(worker.sent).includes('s3cr3t'));
});

test('a text is the answer to every question', async () => {
  const { ask } = await connect('e30.e30.c2ln');
  assert.deepEqual(await ask(1), { type: 'token', id: 1, token: 'e30.e30.c2ln' });
  assert.deepEqual(await ask(2), { type: 'token', id: 2, token: 'e30.e30.c2ln' });
});

test('a function is called for every connection, and not before', async () => {
  let calls = 0;
  const { ask } = await connect(() => `token-${++calls}`);
  assert.equal(calls, 0);
  assert.deepEqual(await ask(1), { type: 'token', id: 1, token: 'token-1' });
  assert.deepEqual(await ask(2), { type: 'token', id: 2, token: 'token-2' });
});

test('answers find their questions, in whatever order they come', async () => {
  const waiting = [];
  const { worker, ask } = await connect(() => new Promise((resolve) => waiting.push(resolve)));
  await ask(1);
  await ask(2);
  waiting[1]('second');
  await settled();
  waiting[0]('first');
  await settled();
  assert.deepEqual(worker.sent.slice(1), [
    { type: 'token', id: 2, token: 'second' },
    { type: 'token', id: 1, token: 'first' },
  ]);
});

for (const [name, source, words] of [
  [
    'throws',
    () => {
      throw new Error('not signed in');
    },
    /not signed in/,
  ],
  ['rejects', () => Promise.reject(new Error('not signed in')), /not signed in/],
  ['rejects with something else', () => Promise.reject('offline'), /offline/],
  ['gives nothing', () => {}, /1 to 4096 visible ASCII characters/],
  ['gives a text with a line break', () => 's3cr3t\n', /1 to 4096 visible ASCII characters/],
]) {
  test(`a function that ${name} is no answer, and says why without the token`, async () => {
    const { client, ask } = await connect(source);
    const { type, id, message } = await ask(3);
    assert.deepEqual([type, id], ['no-token', 3]);
    assert.match(message, words);
    assert.ok(!message.includes('s3cr3t'));
    assert.equal(client.latest('error'), undefined, 'the module reports it, and tries again');
  });
}

test('a token that comes after the client has closed goes nowhere', async () => {
  let give;
  const { client, worker, ask } = await connect(() => new Promise((resolve) => (give = resolve)));
  await ask(1);
  const closing = client.close();
  give('late');
  await settled();
  worker.say({ type: 'closed' });
  await closing;
  assert.deepEqual(
    worker.sent.map(({ type }) => type),
    ['start', 'close'],
  );
});

test('a token that a crashed worker asked for does not go to the next one', async () => {
  let give;
  const { worker, ask } = await connect(() => new Promise((resolve) => (give = resolve)));
  await ask(1);
  worker.onerror({ message: 'unreachable' });
  give('late');
  await settled();
  const next = FakeWorker.last;
  assert.notEqual(next, worker);
  assert.deepEqual(
    next.sent.map(({ type }) => type),
    ['start'],
  );
});
