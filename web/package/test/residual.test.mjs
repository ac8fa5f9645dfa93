// The part of updates that a sparse codec has not sent, kept for the next visit. Storage and
// locks are made up here; the end-to-end tests have a browser's.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { ResidualEntry } from '../dist/residual.js';
import { RESIDUALS } from '../dist/residual-store.js';
import { FakeIndexedDb } from './fake-indexed-db.mjs';

const SOCKET = 'ws://127.0.0.1:8080/v1/connect';

/** Locks of a browser: a request that finds one taken gives up at once. */
class FakeLocks {
  #taken = new Set();

  async request(name, { signal }, use) {
    assert.ok(signal instanceof AbortSignal, 'the wait has an end');
    if (this.#taken.has(name)) throw new DOMException('waited too long', 'TimeoutError');
    this.#taken.add(name);
    return use();
  }

  /** All tabs are closed. */
  release() {
    this.#taken.clear();
  }
}

let storage;
let locks;
let restore;
beforeEach(() => {
  ({ storage, restore } = FakeIndexedDb.install());
  locks = new FakeLocks();
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks } });
});
afterEach(() => {
  assert.equal(storage.opened, 0, 'every database is closed');
  restore();
  delete globalThis.navigator;
});

/** The entry of a client on a page that has just been opened, and what it begins with. */
async function visit(task = 'digits') {
  locks?.release();
  const entry = new ResidualEntry(SOCKET, task, RESIDUALS);
  return { entry, found: await entry.load() };
}

test('a later visit goes on with what was kept last, each task with its own', async () => {
  const { entry, found } = await visit();
  assert.equal(found, undefined);
  const changes = [entry.keep(Uint8Array.of(1)), entry.keep(Uint8Array.of(2))];
  await changes[1];
  await changes[0];
  assert.deepEqual((await visit()).found, Uint8Array.of(2));
  assert.equal((await visit('letters')).found, undefined);
});

test('a round that ends while the entry is read does not cost it', async () => {
  await (await visit()).entry.keep(Uint8Array.of(1));
  locks.release();
  const entry = new ResidualEntry(SOCKET, 'digits', RESIDUALS);
  void entry.load();
  assert.deepEqual(await entry.load(), Uint8Array.of(1));
});

test('of two clients of a task the second one has no part in the entry', async () => {
  await (await visit()).entry.keep(Uint8Array.of(1));
  const { entry } = await visit();
  const second = new ResidualEntry(SOCKET, 'digits', RESIDUALS);
  assert.equal(await second.load(), undefined);
  await second.keep(Uint8Array.of(9));
  await entry.keep(Uint8Array.of(2));
  assert.deepEqual((await visit()).found, Uint8Array.of(2));
});

test('a browser without storage or without locks has it in memory alone', async () => {
  storage.refuses = 'InvalidStateError';
  const { entry, found } = await visit();
  assert.equal(found, undefined);
  await entry.keep(Uint8Array.of(1));
  storage.refuses = undefined;
  locks = undefined;
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: {} });
  const insecure = await visit();
  await insecure.entry.keep(Uint8Array.of(1));
  assert.equal(storage.of('fedra-residuals').size, 0);
});

test('an entry that cannot be replaced is removed, lest it be sent twice', async () => {
  for (const refuse of [() => Uint8Array.of(2), () => new Uint8Array(64 * 2 ** 20 + 1)]) {
    storage.isFull = undefined;
    await (await visit()).entry.keep(Uint8Array.of(1));
    const bytes = refuse();
    if (bytes.length === 1) storage.isFull = 'QuotaExceededError';
    const { entry, found } = await visit();
    assert.deepEqual(found, Uint8Array.of(1));
    await entry.keep(bytes);
    assert.equal((await visit()).found, undefined);
  }
});

test('forget removes the entry of its task, without a client', async () => {
  for (const task of ['digits', 'letters']) await (await visit(task)).entry.keep(Uint8Array.of(1));
  await FedraClient.forget({ url: SOCKET, task: 'digits' });
  assert.equal((await visit()).found, undefined);
  assert.deepEqual((await visit('letters')).found, Uint8Array.of(1));
  storage.aborts = 'UnknownError';
  await assert.rejects(FedraClient.forget({ url: SOCKET, task: 'letters' }), { code: 'no-storage' });
});

test('a page that opens no task with such a codec has no such storage', async () => {
  const entry = new ResidualEntry(SOCKET, 'digits', RESIDUALS);
  await entry.keep(Uint8Array.of(1));
  assert.equal(storage.of('fedra-residuals').size, 0);
});
