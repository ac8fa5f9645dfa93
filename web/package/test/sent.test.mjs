// The log of what has left the device.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { BROWSER } from '../dist/browser-stores.js';
import { FedraClient } from '../dist/index.js';
import { SentLog } from '../dist/sent.js';
import { FakeIndexedDb } from './fake-indexed-db.mjs';
import { FakeWorker } from './fake-worker.mjs';
import { terms, until } from './manners.mjs';

let database;
let restore;
beforeEach(() => ({ storage: database, restore } = FakeIndexedDb.install()));
afterEach(() => restore());

const socket = 'ws://127.0.0.1:8080/v1/connect';
const place = { url: socket, task: 'digits' };
const log = () => new SentLog(socket, 'digits', BROWSER.sent);
const traffic = (bytesUp) => ({ type: 'traffic', bytesUp, bytesDown: 5 });
const uploading = (round) => ({ type: 'status', state: 'uploading', round });
const update = (round, outcome = 'accepted') => ({ type: 'update', round, outcome });

/** Tells a log events, and waits until it has stored what follows. */
const tell = async (written, ...events) => {
  let stored;
  for (const event of events) stored = written.see(event);
  await stored;
};
const rows = async () => (await log().read()).rounds.map(({ round, bytes, outcome }) => [round, bytes, outcome]);

test('a round has its number, time, bytes, cost and fate', async () => {
  const before = Date.now();
  const spent = { ...terms, spentEpsilon: 1.3, participations: 2 };
  await tell(log(), terms, traffic(100), spent, uploading(7), traffic(5000), update(7));
  const { rounds, earlier } = await log().read();
  const [{ at, ...row }] = rounds;
  assert.deepEqual(row, { round: 7, bytes: 5000, policy: 'distributed', roundEpsilon: 0.9, spentEpsilon: 1.3, outcome: 'accepted' });
  assert.ok(at.getTime() >= before && at.getTime() <= Date.now());
  assert.deepEqual([rounds.length, earlier], [1, { rounds: 0, bytes: 0 }]);
  assert.equal(JSON.parse(JSON.stringify(rounds))[0].at, at.toISOString());
});

test('all bytes are in the log once, those after the update too', async () => {
  const written = log();
  await tell(written, traffic(40), uploading(1), traffic(3040), update(1), traffic(5040), uploading(2), traffic(9040), update(2));
  assert.deepEqual(await rows(), [
    [1, 5040, 'accepted'],
    [2, 4000, 'accepted'],
  ]);
});

test('a module that took another’s place counts from nothing', async () => {
  const written = log();
  await tell(written, uploading(1), traffic(3000), update(1), traffic(2000), uploading(2), traffic(4000), update(2));
  assert.deepEqual(await rows(), [
    [1, 5000, 'accepted'],
    [2, 2000, 'accepted'],
  ]);
});

test('an update that is sent again after a reload or by another tab is the same round', async () => {
  await tell(log(), uploading(3), traffic(2000));
  assert.deepEqual(await rows(), [[3, 2000, null]]);
  await tell(log(), uploading(3), traffic(3000), update(3));
  await tell(log(), uploading(3), traffic(1500), update(3, 'discarded'));
  assert.deepEqual(await rows(), [[3, 6500, 'accepted']]);
});

test('two tabs that write at the same time lose nothing', async () => {
  const [one, other] = [log(), log()];
  await Promise.all([tell(one, uploading(1), traffic(2000), update(1)), tell(other, uploading(2), traffic(3000), update(2))]);
  assert.deepEqual((await rows()).sort(), [
    [1, 2000, 'accepted'],
    [2, 3000, 'accepted'],
  ]);
});

test('a rejected update has left the device all the same', async () => {
  await tell(log(), uploading(1), traffic(2000), update(1, 'rejected'));
  assert.deepEqual(await rows(), [[1, 2000, 'rejected']]);
});

test('an update that began while nothing was sent is no round', async () => {
  await tell(log(), { type: 'status', state: 'training', round: 1 }, traffic(4000), update(1, 'discarded'));
  assert.deepEqual(await rows(), []);
});

test('the log is bounded, and what leaves it stays counted', async () => {
  const old = Array.from({ length: 1000 }, (_, round) => ({ round, at: new Date(0), bytes: 10, policy: 'none', outcome: 'accepted' }));
  database.of('fedra-sent').set(`${socket}#digits`, { rounds: old, earlier: { rounds: 5, bytes: 50 } });
  await tell(log(), uploading(1000), traffic(2000), update(1000));
  const { rounds, earlier } = await log().read();
  assert.deepEqual([rounds.length, rounds[0].round, rounds.at(-1).round], [1000, 1, 1000]);
  assert.deepEqual(earlier, { rounds: 6, bytes: 60 });
});

test('a storage that fails holds nothing up, and reading says so', async () => {
  database.refuses = 'SecurityError';
  await tell(log(), uploading(1), traffic(2000), update(1));
  await assert.rejects(FedraClient.sent(place), { code: 'no-storage' });
});

test('a client writes the log of its task, and the next visit reads it', async () => {
  const undo = FakeWorker.install();
  const client = await FedraClient.connect(place);
  for (const event of [uploading(4), traffic(2000), update(4)]) FakeWorker.last.say({ type: 'event', event });
  const sent = async () => (await FedraClient.sent(place)).rounds[0];
  await until(async () => (await sent())?.outcome === 'accepted');
  assert.deepEqual([(await sent()).round, (await sent()).bytes], [4, 2000]);
  assert.deepEqual((await FedraClient.sent({ ...place, task: 'letters' })).rounds, []);
  FakeWorker.last.say({ type: 'closed' });
  await client.close();
  undo();
});
