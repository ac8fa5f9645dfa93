// Models that the clients evaluate, a tab among them, in the clear and under masks; and the
// tab's own model beside the global one.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setUp } from './harness/scene.mjs';

const NATIVE = 4;
const COHORT = NATIVE + 1;
const EXAMPLES = 60;
const HELD_OUT = 0.25;
/** Two rounds of training, then one of evaluation. */
const EVERY = 2;
const EVALUATION = `[task.client_evaluation]
every = ${EVERY}
held_out = ${HELD_OUT}
`;
/** A policy with so little noise that a mean of five shows. */
const MASKED = `[task.privacy]
policy = "distributed"
noise_multiplier = 0.05
clipping_norm = 1.0
epsilon = 1e9
delta = 1e-5
step_deadline = "20s"
`;
const TASK = {
  id: 'digits',
  model: 'softmax-regression',
  learningRate: 0.1,
  minimumCohort: COHORT,
  cohort: COHORT,
  minimumReports: COHORT,
  rounds: 2 * (EVERY + 1),
  evaluation: EVALUATION,
};

for (const [name, privacy] of [
  ['in the clear', ''],
  ['under masks', MASKED],
]) {
  describe(`a task whose clients evaluate, ${name}`, { concurrency: false }, () => {
    let set;

    before(async () => {
      set = await setUp({ ...TASK, privacy });
    });

    after(() => set?.end());

    test('every third round is one of evaluation, of all clients', { timeout: 120_000 }, async () => {
      set.scene.startNativeClients({ clients: NATIVE, examples: 200, more: ['--backend', 'cpu'] });
      await set.page.evaluate(
        async ([where, count]) => {
          const consent = () => true;
          window.client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu', privacy: { consent } });
          window.own = [];
          window.client.addEventListener('evaluation', ({ detail }) => window.own.push(detail));
          window.states = new Set();
          window.client.addEventListener('status', ({ detail }) => window.states.add(detail.state));
          // No two are alike: equal ones would be held out together.
          window.pictures = () => {
            const { features, labels } = window.examples(count);
            return { features: features.map((value, index) => value + ((index * 37) % 101) / 1000), labels };
          };
          const { features, labels } = window.pictures();
          await window.client.train({ features, labels, shape: [count, 784] });
        },
        [set.place, EXAMPLES],
      );
      const task = await set.aggregator.reaches('the last round', ({ round }) => round === TASK.rounds, 120);
      const evaluated = task.history.filter(({ by_clients: scores }) => scores !== null);
      assert.deepEqual(
        evaluated.map(({ round, reports }) => [round, reports]),
        [
          [3, COHORT],
          [6, COHORT],
        ],
      );
      assert.equal(task.latest, null, 'the server has no examples');
      const { round, accuracy, loss } = task.latest_by_clients;
      assert.equal(round, 6);
      assert.ok(accuracy > 0.4 && accuracy <= 1, `${accuracy}`);
      assert.ok(loss > 0 && loss < 2 * Math.log(10), `${loss}`);
      const own = await set.page.evaluate(() => window.own);
      assert.deepEqual(
        own.map((event) => [event.round, event.examples]),
        [
          [3, Math.ceil(EXAMPLES * HELD_OUT)],
          [6, Math.ceil(EXAMPLES * HELD_OUT)],
        ],
      );
      for (const { accuracy: right } of own) assert.ok(right >= 0 && right <= 1);
      const states = await set.page.evaluate(() => [...window.states]);
      assert.ok(states.includes('evaluating'), states.join());
      if (privacy) assert.equal(task.privacy.debits, TASK.rounds, 'each round is paid for');
    });

    test('the tab makes a model of its own, which is better on its held-out examples', async () => {
      const seen = await set.page.evaluate(async (count) => {
        const { features } = window.pictures();
        const early = await window.failure(window.client.predict(features, { model: 'personal' }));
        const done = await window.client.personalize({ epochs: 10, learningRate: 0.1 });
        const [global, personal] = [await window.client.predict(features), await window.client.predict(features, { model: 'personal' })];
        const right = (outputs) =>
          Array.from({ length: count }, (_, row) => {
            const own = outputs.subarray(10 * row, 10 * row + 10);
            return own.indexOf(Math.max(...own)) === row % 10;
          }).filter(Boolean).length;
        return { early, done, global: right(global), personal: right(personal) };
      }, EXAMPLES);
      assert.equal(seen.early.code, 'no-model');
      assert.match(seen.early.message, /personalize/);
      const { examples, heldOut, global, personal } = seen.done;
      assert.deepEqual([examples + heldOut, heldOut], [EXAMPLES, Math.ceil(EXAMPLES * HELD_OUT)]);
      assert.ok(personal.loss < global.loss, `${personal.loss} beside ${global.loss}`);
      assert.equal(seen.personal, EXAMPLES, 'its pictures are plain bars');
      assert.ok(seen.personal >= seen.global);
    });

    test('mistakes in the options are named', async () => {
      const failures = await set.page.evaluate(() =>
        Promise.all([
          window.failure(window.client.personalize({ epochs: 0 })),
          window.failure(window.client.personalize({ learningRate: 'fast' })),
          window.failure(window.client.predict(new Float32Array(784), { model: 'mine' })),
        ]),
      );
      for (const [index, word] of ['epochs', 'learningRate', 'model'].entries()) {
        assert.equal(failures[index]?.code, 'invalid-options');
        assert.match(failures[index].message, new RegExp(word));
      }
    });
  });
}
