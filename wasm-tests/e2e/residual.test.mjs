// The part of a visitor's updates that a sparse codec has not sent: there after a reload, to
// the bit, in one tab of the browser alone, and forgotten.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setUp } from './harness/scene.mjs';

const PARAMETERS = 784 * 10 + 10;
/** Bytes before the first value: version, hash of the model, round, attempt and number of values. */
const HEADER = 4 + 32 + 8 + 4 + 8;

const TASK = {
  id: 'sparse',
  model: 'softmax-regression',
  learningRate: 0.1,
  minimumCohort: 1,
  cohort: 1,
  codec: 'topk',
};

describe('what a sparse codec has not sent', { concurrency: false }, () => {
  let set;
  let page;

  before(async () => {
    set = await setUp(TASK);
    ({ page } = set);
  });

  after(() => set?.end());

  /** Takes part until an update of a later round than `round` is accepted, leaves, and returns the update's round. */
  const takesPart = (tab, round) =>
    tab.evaluate(
      async ([where, later]) => {
        const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
        await client.train({ ...window.examples(20), shape: [20, 28, 28] });
        const update = await window.sees(client, 'update', ({ round }) => round > later);
        await client.close();
        if (update.outcome !== 'accepted') throw new Error(JSON.stringify(update));
        return update.round;
      },
      [set.place, round],
    );

  /** The entry in IndexedDB: the round, what no round has had, and what its update leaves behind. */
  async function entry() {
    const bytes = await page.evaluate(async () => {
      const asked = (request) =>
        new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: reject }));
      const database = await asked(indexedDB.open('fedra-residuals', 1));
      const entries = await asked(database.transaction('residuals').objectStore('residuals').getAll());
      database.close();
      if (entries.length > 1) throw new Error('one task, one entry');
      return entries[0] && [...entries[0]];
    });
    if (!bytes) return undefined;
    const { buffer } = Uint8Array.from(bytes);
    const values = new Float32Array(buffer, HEADER);
    assert.equal(values.length, 2 * PARAMETERS);
    const round = Number(new DataView(buffer).getBigUint64(36, true));
    return { round, kept: values.slice(0, PARAMETERS), rest: values.slice(PARAMETERS) };
  }

  let last;
  test('is stored before the server has the update', async () => {
    const round = await takesPart(page, 0);
    last = await entry();
    assert.ok(last.round >= round, 'the next round may have begun before the client left');
    assert.ok(last.rest.some((value) => value !== 0));
  });

  test('is added to the next update after a reload', async () => {
    let next = last;
    // A visit of one round, which a client that leaves a moment later makes two.
    do {
      last = next;
      await set.sites.reload(page, set.sites.own);
      await takesPart(page, last.round);
      next = await entry();
    } while (next.round > last.round + 1);
    assert.equal(next.round, last.round + 1);
    assert.deepEqual(next.kept, last.rest);
  });

  test('is forgotten when the page says so', async () => {
    await page.evaluate((where) => window.fedra.FedraClient.forget(where), set.place);
    assert.equal(await entry(), undefined);
  });
});
