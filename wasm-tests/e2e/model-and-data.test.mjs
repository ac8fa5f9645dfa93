// Uses of a task other than training, and data that do not fit: the npm package with
// the real aggregator.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { freePort } from './harness/programs.mjs';
import { setUp } from './harness/scene.mjs';
import { openTab } from './harness/tab.mjs';

const OTHER_TASKS = `
[[task]]
id = "pictures"
model = { input = [3, 8, 8], layers = [{ type = "flatten" }, { type = "linear", outputs = 4 }], loss = "softmax_cross_entropy" }
round = { cohort_size = 1 }

[[task]]
id = "cnn"
model = "mnist-cnn"
round = { cohort_size = 1 }
`;
const DIGITS = { id: 'digits', model: 'softmax-regression', learningRate: 0.1, minimumCohort: 1, cohort: 1 };

describe('an open task', { concurrency: false }, () => {
  let set;
  let page;
  let place;

  before(async () => {
    set = await setUp({ ...DIGITS, more: OTHER_TASKS });
    ({ page, place } = set);
  });

  after(() => set?.end());

  test('a client without data observes: it is told the task and the model, predicts, and is in no round', async () => {
    const seen = await page.evaluate(async (where) => {
      const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
      const [task, model] = await Promise.all([window.sees(client, 'task'), window.sees(client, 'model')]);
      const probabilities = await client.predict(window.examples(2).features);
      const state = client.latest('status').state;
      await client.close();
      return { input: task.input, round: model.round, length: probabilities.length, sum: probabilities.reduce((a, b) => a + b), state };
    }, place);
    assert.deepEqual([seen.input, seen.round, seen.length, seen.state], [[784], 0, 20, 'idle']);
    assert.ok(Math.abs(seen.sum - 2) < 1e-4);
    const { round, attempt } = await set.aggregator.state();
    assert.deepEqual([round, attempt], [0, 0], 'there was no invitation');
  });

  test('a wrong address is noticed before there are data, and ends the wait of those that are given', async () => {
    const { error, failure } = await page.evaluate(
      async (where) => {
        const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
        const told = await window.sees(client, 'error');
        const { features, labels } = window.examples(10);
        const refused = await window.failure(client.train({ features, labels, shape: [10, 784] }, { timeout: 500 }));
        await client.close();
        return { error: told, failure: refused };
      },
      { ...place, url: `http://127.0.0.1:${await freePort()}` },
    );
    assert.deepEqual([error.code, error.fatal], ['no-server', false]);
    assert.equal(failure.code, 'timeout');
    assert.ok(failure.message.includes(error.message), failure.message);
  });

  test('data that do not fit are refused when they are given, at once after connecting too, and start no attempt', async () => {
    const failures = await page.evaluate(async (where) => {
      const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
      const give = (shape, labels) => {
        const values = shape.reduce((a, b) => a * b);
        return window.failure(client.train({ features: new Float32Array(values), labels, shape }));
      };
      const ten = Array.from({ length: 10 }, (_, index) => index);
      const early = await give([10, 100], ten);
      const late = [
        await give([10, 28, 29], ten),
        await give(
          [10, 784],
          ten.map((label) => label + 1),
        ),
      ];
      const errors = client.latest('error');
      await client.close();
      return { all: [early, ...late], errors };
    }, place);
    assert.deepEqual(
      failures.all.map(({ code }) => code),
      ['bad-dataset', 'bad-dataset', 'bad-dataset'],
    );
    assert.match(failures.all[0].message, /784/);
    assert.equal(failures.errors, undefined, 'the call was told, so there is no event');
    const { round, attempt } = await set.aggregator.state();
    assert.deepEqual([round, attempt], [0, 0]);
  });

  test('a page that has the package from another origin takes part and predicts', async () => {
    const other = await set.sites.open(set.scene.browser, set.sites.foreign);
    const seen = await other.evaluate(async (where) => {
      const { FedraClient } = window.fedra;
      const client = await FedraClient.connect({ ...where, backend: 'cpu' });
      const { features, labels } = window.examples(20);
      await client.train({ features, labels, shape: [20, 784] });
      const { outcome } = await window.sees(client, 'update');
      await client.close();
      const model = await FedraClient.load(where);
      const { length } = await model.predict(features);
      model.close();
      return [outcome, length];
    }, place);
    assert.deepEqual(seen, ['accepted', 200]);
    await other.close();
  });

  test('data that fit train after those that did not, and others that do not fit change nothing', async () => {
    const outcomes = await page.evaluate(async (where) => {
      const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
      const { features, labels } = window.examples(20);
      const bad = { features: new Float32Array(10), labels: [0], shape: [1, 10] };
      await window.failure(client.train(bad));
      await client.train({ features, labels, shape: [20, 784] });
      const first = await window.sees(client, 'update');
      const refused = await window.failure(client.train(bad));
      const next = await window.sees(client, 'update', ({ round }) => round > first.round);
      await client.close();
      return [first.outcome, refused.code, next.outcome];
    }, place);
    assert.deepEqual(outcomes, ['accepted', 'bad-dataset', 'accepted']);
  });

  test('pictures with their channels last are refused with a hint, and trained on if that is said', async () => {
    const [refused, outcome] = await page.evaluate(async (where) => {
      const client = await window.fedra.FedraClient.connect({ ...where, task: 'pictures', backend: 'cpu' });
      const { features, labels } = window.examples(8, 8 * 8 * 3, 4);
      const pictures = { features, labels, shape: [8, 8, 8, 3] };
      const failure = await window.failure(client.train(pictures));
      await client.train(pictures, { layout: 'channels-last' });
      const update = await window.sees(client, 'update');
      await client.close();
      return [failure, update.outcome];
    }, place);
    assert.equal(refused?.code, 'bad-dataset');
    assert.match(refused.message, /channels-last/);
    assert.equal(outcome, 'accepted');
  });

  test('pictures of one channel need not say so', async () => {
    const outcome = await page.evaluate(async (where) => {
      const client = await window.fedra.FedraClient.connect({ ...where, task: 'cnn', backend: 'cpu' });
      const { features, labels } = window.examples(4);
      await client.train({ features, labels, shape: [4, 28, 28] });
      const update = await window.sees(client, 'update');
      await client.close();
      return update.outcome;
    }, place);
    assert.equal(outcome, 'accepted');
  });

  test('thousands of pictures at once: other messages are answered meanwhile, and the client lives', { timeout: 900_000 }, async () => {
    const order = await page.evaluate(async (where) => {
      const client = await window.fedra.FedraClient.connect({ ...where, task: 'cnn', backend: 'cpu' });
      await window.sees(client, 'model');
      const done = [];
      const ask = async (count) => done.push((await client.predict(window.examples(count).features)).length / 10);
      const many = ask(10_000);
      await window.failure(client.train({ features: new Float32Array(10), labels: [0], shape: [1, 10] }));
      done.push('data');
      await many;
      await ask(1);
      await client.close();
      return done;
    }, place);
    assert.deepEqual(order, ['data', 10_000, 1]);
  });

  test('a model without a session reads thousands of pictures, too', { timeout: 900_000 }, async () => {
    const lengths = await page.evaluate(async (where) => {
      const model = await window.fedra.FedraClient.load({ ...where, task: 'cnn' });
      const asked = [10_000, 1].map((count) => model.predict(window.examples(count).features));
      const answers = await Promise.all(asked);
      model.close();
      return answers.map(({ length }) => length / 10);
    }, place);
    assert.deepEqual(lengths, [10_000, 1]);
  });

  for (const [backend, told] of [
    ['auto', 'backend'],
    ['webgpu', 'error'],
  ]) {
    test(`a browser that never names its graphics adapter trains on the CPU: ${backend}`, async () => {
      const [first, update, choice] = await page.evaluate(
        async ([where, asked, type]) => {
          const client = await window.fedra.FedraClient.connect({ ...where, backend: asked, worker: '/hanging.js' });
          const { features, labels } = window.examples(20);
          await client.train({ features, labels, shape: [20, 784] });
          const news = await window.sees(client, type);
          const accepted = await window.sees(client, 'update');
          const chosen = await window.sees(client, 'backend', ({ reason }) => /cannot be used/.test(reason));
          await client.close();
          return [news, accepted, chosen];
        },
        [place, backend, told],
      );
      const problem = 'the adapter did not come within 10 s';
      // With `auto` rounds do not wait for the adapter.
      if (backend === 'auto') assert.equal(first.reason, 'measuring WebGPU beside it');
      else assert.deepEqual([first.code, first.message, first.fatal], ['no-webgpu', `${problem}; training on the CPU`, false]);
      assert.equal(update.outcome, 'accepted');
      assert.deepEqual([choice.backend, choice.reason], ['cpu', `WebGPU cannot be used: ${problem}`]);
    });
  }

  test('a call in which the worker crashes rejects, and the client goes on with its data', { timeout: 300_000 }, async () => {
    const { failure, error, later } = await page.evaluate(async (where) => {
      const client = await window.fedra.FedraClient.connect({
        ...where,
        backend: 'cpu',
        worker: () => (window.worker = new Worker('/fedra/dist/worker.js', { type: 'module' })),
      });
      const { features, labels } = window.examples(20);
      await client.train({ features, labels, shape: [20, 784] });
      const before = await window.sees(client, 'update');
      const asked = window.failure(client.predict(window.examples(1).features));
      // The browser's report of a module that is out of memory.
      window.worker.dispatchEvent(new ErrorEvent('error', { message: 'Uncaught RuntimeError: memory access out of bounds' }));
      const told = client.latest('error');
      const refused = await asked;
      // The round of the crash may be over by then, or have the crashed worker's update.
      const accepted = ({ round, outcome }) => round > before.round && outcome === 'accepted';
      const next = await window.sees(client, 'update', accepted);
      await client.predict(features.subarray(0, 784));
      await client.close();
      return { failure: refused, error: told, later: next.round - before.round };
    }, place);
    assert.equal(failure.code, 'worker-failed');
    assert.equal(error.fatal, false);
    assert.ok(later > 0);
  });
});

describe('a finished task', { concurrency: false }, () => {
  let set;
  let page;
  let place;

  before(async () => {
    set = await setUp({ ...DIGITS, rounds: 2 });
    ({ page, place } = set);
  });

  after(() => set?.end());

  test('who took part until the end has the model, after a restart too', async () => {
    await page.evaluate(async (where) => {
      const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
      const { features, labels } = window.examples(20);
      await client.train({ features, labels, shape: [20, 784] });
      await window.sees(client, 'model', ({ round }) => round === 2);
      window.client = client;
      window.outputs = await client.predict(features);
      window.asked = features;
      window.states = [];
      client.addEventListener('status', ({ detail }) => window.states.push(detail.state));
    }, place);
    await set.aggregator.restart();
    const { same, length, fatal } = await page.evaluate(async () => {
      await new Promise((resolve) => {
        const back = () => window.states.slice(window.states.indexOf('reconnecting') + 1).some((state) => !/connecting/.test(state));
        if (window.states.includes('reconnecting') && back()) return resolve();
        window.client.addEventListener('status', () => window.states.includes('reconnecting') && back() && resolve());
      });
      const again = await window.client.predict(window.asked);
      const error = window.client.latest('error');
      await window.client.close();
      const same = again.every((value, index) => value === window.outputs[index]);
      return { same, length: again.length, fatal: error?.fatal };
    });
    assert.deepEqual({ same, length }, { same: true, length: 20 * 10 });
    assert.notEqual(fatal, true);
  });

  test('a new visitor predicts as well: as an observer, with data, and without a session', async () => {
    const seen = await page.evaluate(async (where) => {
      const { FedraClient } = window.fedra;
      const client = await FedraClient.connect({ ...where, backend: 'cpu' });
      const finished = await window.sees(client, 'error');
      await window.sees(client, 'model');
      const { features, labels } = window.examples(10);
      const observed = await client.predict(features);
      await client.train({ features, labels, shape: [10, 784] });
      const trained = await client.predict(features);
      await client.close();
      const model = await FedraClient.load(where);
      const loaded = await model.predict(features);
      model.close();
      const equal = [trained, loaded].every((values) => values.every((value, index) => value === observed[index]));
      const lengths = [observed, trained, loaded].map(({ length }) => length);
      return { code: finished.code, fatal: finished.fatal, equal, lengths, round: model.round };
    }, place);
    const lengths = [100, 100, 100];
    assert.deepEqual(seen, { code: 'task-finished', fatal: false, equal: true, lengths, round: 2 });
  });

  test('what is not there to be loaded is told apart', async () => {
    const codes = await page.evaluate(
      async ([where, nowhere]) => {
        const { FedraClient } = window.fedra;
        const failures = [FedraClient.load({ ...where, task: 'other' }), FedraClient.load({ ...where, url: nowhere })];
        return (await Promise.all(failures.map(window.failure))).map(({ code }) => code);
      },
      [place, `http://127.0.0.1:${await freePort()}`],
    );
    assert.deepEqual(codes, ['unknown-task', 'no-server']);
  });

  test('the demo page reads a visitor’s digit without a start', async () => {
    const tab = await openTab(set.scene.browser, set.aggregator.page());
    await tab.page.locator('[data-code="task-finished"]').waitFor();
    await tab.page.locator('.paper canvas').scrollIntoViewIfNeeded();
    const pad = await tab.page.locator('.paper canvas').boundingBox();
    await tab.page.mouse.move(pad.x + 60, pad.y + 60);
    await tab.page.mouse.down();
    await tab.page.mouse.move(pad.x + 120, pad.y + 60, { steps: 5 });
    await tab.page.mouse.up();
    await tab.page.locator('.answer .read').waitFor();
    assert.deepEqual(tab.errors, []);
    await tab.close();
  });
});
