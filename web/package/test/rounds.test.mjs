// The rounds of a client for `for await`.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeWorker } from './fake-worker.mjs';

let restore;
let client;
let worker;
beforeEach(async () => {
  restore = FakeWorker.install();
  client = await FedraClient.connect({ url: 'wss://example.org', task: 'digits' });
  worker = FakeWorker.last;
});
afterEach(() => restore());

const tell = (event) => worker.say({ type: 'event', event });
const model = (round, more = {}) => tell({ type: 'model', round, sha256: `${round}a`, bytes: 9, ...more });
const scored = (round) => ({ accuracy: round / 10, loss: 1 / round, evaluatedRound: round });
const update = (round, outcome, more = {}) => tell({ type: 'update', round, outcome, ...more });
const spent = (policy, spentEpsilon) => tell({ type: 'privacy', policy, spentEpsilon });
const closeClient = () => worker.say({ type: 'closed' });
const allOf = async (rounds) => {
  const all = [];
  for await (const round of rounds) all.push(round);
  return all;
};

test('each round that ends is told once, with its scores, the own update and what it cost', async () => {
  model(4, scored(4));
  const rounds = client.rounds();
  model(4, scored(4));
  update(5, 'accepted');
  spent('distributed', 1.5);
  model(5, scored(5));
  update(6, 'rejected', { fault: 'not-finite' });
  model(6, scored(6));
  model(7, scored(7));
  closeClient();
  assert.deepEqual(await allOf(rounds), [
    { round: 5, sha256: '5a', accuracy: 0.5, loss: 1 / 5, update: 'accepted', spentEpsilon: 1.5, missed: 0 },
    { round: 6, sha256: '6a', accuracy: 0.6, loss: 1 / 6, update: 'rejected', fault: 'not-finite', spentEpsilon: 1.5, missed: 0 },
    { round: 7, sha256: '7a', accuracy: 0.7, loss: 1 / 7, spentEpsilon: 1.5, missed: 0 },
  ]);
});

test('a round waits for its evaluation, and at most until the next model', async () => {
  model(1, scored(1));
  const rounds = client.rounds();
  model(2, scored(1));
  const second = rounds.next();
  model(2, scored(2));
  assert.deepEqual((await second).value, { round: 2, sha256: '2a', accuracy: 0.2, loss: 0.5, missed: 0 });
  model(3, scored(2));
  model(4, scored(2));
  assert.deepEqual((await rounds.next()).value, { round: 3, sha256: '3a', missed: 0 });
  closeClient();
  assert.deepEqual((await rounds.next()).value, { round: 4, sha256: '4a', missed: 0 });
  assert.deepEqual(await rounds.next(), { done: true, value: undefined });
});

test('the model that is there at the check-in is no new round, and a task without evaluation waits for none', async () => {
  const rounds = client.rounds();
  spent('none', 0);
  model(9);
  const next = rounds.next();
  model(10);
  assert.deepEqual((await next).value, { round: 10, sha256: '10a', missed: 0 });
});

test('a slow loop gets the newest 64 rounds, and the number of those before', async () => {
  model(0);
  const rounds = client.rounds();
  for (let round = 1; round <= 100; round++) model(round);
  closeClient();
  const all = await allOf(rounds);
  assert.equal(all.length, 64);
  assert.deepEqual([all[0].round, all[0].missed, all[1].missed, all[63].round], [37, 36, 0, 100]);
});

test('two loops each get every round', async () => {
  model(0);
  const [one, other] = [client.rounds(), client.rounds()];
  model(1);
  closeClient();
  assert.deepEqual(await allOf(one), await allOf(other));
});

test('an abort ends the loop with its code, at once', async () => {
  const controller = new AbortController();
  model(0);
  const rounds = client.rounds({ signal: controller.signal });
  model(1);
  const reason = new Error('enough');
  controller.abort(reason);
  await assert.rejects(allOf(rounds), { name: 'FedraError', code: 'aborted', cause: reason });
  await assert.rejects(allOf(client.rounds({ signal: AbortSignal.abort() })), { code: 'aborted' });
});

test('a fatal error ends the loop after the rounds before it, with its code', async () => {
  model(0);
  const rounds = client.rounds();
  model(1);
  tell({ type: 'error', code: 'no-server', message: 'nobody answers', fatal: false });
  tell({ type: 'error', code: 'privacy-refused', message: 'too little noise', fatal: true });
  closeClient();
  assert.equal((await rounds.next()).value.round, 1);
  await assert.rejects(rounds.next(), { code: 'privacy-refused', message: 'too little noise' });
  assert.deepEqual(await rounds.next(), { done: true, value: undefined });
});

test('break ends a loop, and a closed client has no rounds', async () => {
  model(0);
  const rounds = client.rounds();
  model(1);
  model(2);
  for await (const { round } of rounds) {
    assert.equal(round, 1);
    break;
  }
  assert.deepEqual(await rounds.next(), { done: true, value: undefined });
  closeClient();
  assert.deepEqual(await allOf(client.rounds()), []);
});

test('rounds refuses what is no signal', () => {
  assert.throws(() => client.rounds({ signal: 1 }), { code: 'invalid-options' });
  assert.throws(() => client.rounds({ since: 1 }), { code: 'invalid-options' });
});
