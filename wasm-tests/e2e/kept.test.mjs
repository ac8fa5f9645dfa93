// Files that a visitor keeps in the browser: there after a reload, within the browser's
// room, read anew when the operator describes the data in another way, and forgotten.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Scene, setUp } from './harness/scene.mjs';

const TABLE = `[task.data]
kind = "table"
target = "income"
columns = [
  { name = "age", type = "number", mean = 40, deviation = 10 },
  { name = "income", type = "category", values = ["low", "high"] },
]
`;
const PEOPLE = 'age;income\n30;low\n50;high\n41,5;low\n';

const people = (folder) => ({
  id: 'people',
  model: '{ input = [1], layers = [{ type = "linear", outputs = 2 }], loss = "softmax_cross_entropy" }',
  learningRate: 0.5,
  minimumCohort: 1,
  cohort: 1,
  data: TABLE,
  evaluation: `[task.evaluation]\ndata = ${JSON.stringify(join(folder, 'held-out.csv'))}\n`,
});

describe('files that are kept', { concurrency: false }, () => {
  const scene = new Scene();
  let set;
  let page;

  before(async () => {
    heldOut('age');
    set = await setUp(people(scene.folder), scene);
    ({ page } = set);
    // Before anything is stored: the browser remembers for a while how much room there was.
    const session = await page.context().newCDPSession(page);
    await session.send('Storage.overrideQuotaForOrigin', { origin: set.sites.page.origin, quotaSize: 500_000 });
  });

  after(() => set?.end());

  /** Held-out examples that have the column `age` by this name. */
  function heldOut(age) {
    writeFileSync(join(scene.folder, 'held-out.csv'), `${age},income\n30,low\n50,high\n`);
  }

  /** Starts the aggregator again with another text in its config. */
  async function change(before, now) {
    const { config } = set.aggregator;
    const text = readFileSync(config, 'utf8');
    assert.ok(text.includes(before), before);
    writeFileSync(config, text.replace(before, now));
    await set.aggregator.restart();
  }

  const connects = () =>
    page.evaluate(async (where) => {
      window.place = where;
      window.client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
      window.errors = [];
      window.client.addEventListener('error', ({ detail }) => window.errors.push(detail));
    }, set.place);
  /** Size of what is kept, in bytes and files. */
  const kept = () =>
    page.evaluate(async (where) => {
      const found = await window.fedra.FedraClient.kept(where);
      return found && [found.bytes, found.files];
    }, set.place);
  /** The outcome of the next update. */
  const outcome = () =>
    page.evaluate(async () => {
      const { round } = window.client.latest('update') ?? { round: -1 };
      return (await window.sees(window.client, 'update', (update) => update.round > round)).outcome;
    });

  test('nothing is kept unless the page asks for it', async () => {
    await connects();
    const taken = await page.evaluate(
      (text) => window.client.train({ files: new File([text], 'people.csv') }, { decimal: ',' }).then(() => 'taken'),
      PEOPLE,
    );
    assert.equal(taken, 'taken');
    assert.equal(await kept(), null);
  });

  test('after a reload they are there, and are trained on without being given again', async () => {
    const { bytes, files, now, since } = await page.evaluate(async () => ({ ...(await window.client.keep()), now: Date.now() }));
    assert.deepEqual([bytes, files], [PEOPLE.length, 1]);
    assert.ok(now - since.getTime() >= 0 && now - since.getTime() < 60_000);
    await set.sites.reload(page, set.sites.own);
    assert.deepEqual(await kept(), [PEOPLE.length, 1]);
    await connects();
    await page.evaluate(() => window.client.trainKept());
    assert.equal(await outcome(), 'accepted');
  });

  test('where the browser has no room, those before stay', async () => {
    const failure = await page.evaluate(async (text) => {
      const large = new File([text, '30;low\n'.repeat(200_000)], 'large.csv');
      await window.client.train({ files: large }, { decimal: ',' });
      return window.failure(window.client.keep());
    }, PEOPLE);
    assert.equal(failure?.code, 'storage-full');
    assert.deepEqual(await kept(), [PEOPLE.length, 1]);
    await page.evaluate(() => window.client.trainKept());
  });

  test('when the description changes they are read anew, without a word from the page', async () => {
    await page.evaluate(() => {
      window.unfit = [];
      window.client.addEventListener('status', ({ detail }) => detail.reason === 'bad-dataset' && window.unfit.push(detail.state));
    });
    await change('mean = 40', 'mean = 50');
    await page.waitForFunction(() => window.unfit.includes('unavailable'));
    assert.equal(await outcome(), 'accepted');
    assert.deepEqual(await page.evaluate(() => window.errors.filter(({ code }) => code === 'bad-dataset')), []);
  });

  test('files that the new description does not fit are told with the place of the mistake', async () => {
    heldOut('years');
    await change('name = "age"', 'name = "years"');
    const { message } = await page.evaluate(() => window.sees(window.client, 'error', ({ code }) => code === 'bad-dataset'));
    assert.match(message, /^people\.csv, line 1: the header has no "years"/);
    const text = PEOPLE.replace('age', 'years');
    await page.evaluate((csv) => window.client.train({ files: new File([csv], 'people.csv') }, { decimal: ',' }), text);
    assert.equal(await outcome(), 'accepted');
  });

  test('forgotten files are gone, also after a reload', async () => {
    await page.evaluate((where) => window.fedra.FedraClient.forget(where), set.place);
    assert.equal(await kept(), null);
    await set.sites.reload(page, set.sites.own);
    assert.equal(await kept(), null);
    await connects();
    const failure = await page.evaluate(() => window.failure(window.client.trainKept()));
    assert.equal(failure?.code, 'nothing-kept');
  });
});
