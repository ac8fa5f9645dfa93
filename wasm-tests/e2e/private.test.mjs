// A private task with everything real: two tabs and native clients under secure
// aggregation, some of them leaving between its steps, and an aggregator that
// is killed while rounds are paid for. The tests go in order and share the
// programs.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import { program } from './harness/paths.mjs';
import { Scene } from './harness/scene.mjs';
import { openTab } from './harness/tab.mjs';
import { until } from './harness/until.mjs';

const NATIVE = 10;
const TASK = {
  id: 'private-digits',
  model: 'softmax-regression',
  learningRate: 0.1,
  minimumCohort: NATIVE,
  minimumReports: 6,
  privacy: `[task.privacy]
policy = "distributed"
noise_multiplier = 1.0
clipping_norm = 0.5
target_quantile = 0.5
epsilon = 200.0
delta = 1e-5
step_deadline = "10s"
`,
};

const accepted = (event) => event.type === 'update' && event.outcome === 'accepted';
const isState =
  (name) =>
  ({ type, state }) =>
    type === 'status' && state === name;

describe('a private task', { concurrency: false }, () => {
  const scene = new Scene();
  let aggregator;
  let browser;
  let first;
  let second;

  before(async () => {
    ({ aggregator, browser } = await scene.start(TASK));
  });

  after(() => scene.end());

  test('nobody takes part before agreeing to the terms', async () => {
    first = await openTab(browser, aggregator.page({ backend: 'cpu', examples: 100 }));
    await first.page.getByRole('button', { name: /start/i }).click();
    const terms = await first.sees('the terms', ({ type }) => type === 'privacy');
    assert.equal(terms.policy, 'distributed');
    assert.equal(terms.secureAggregation, true);
    assert.equal(terms.minimumSurvivors, TASK.minimumReports);
    assert.ok(terms.roundEpsilon > 0 && terms.nextEpsilon >= terms.roundEpsilon);
    await first.sees('the tab waits for consent', isState('consent'));
    scene.startNativeClients({ clients: NATIVE, examples: 200, more: ['--drop-rate', '0.2', '--seed', '7'] });
    await aggregator.reaches('a round without the tab', ({ round }) => round >= 1);
    assert.deepEqual(await first.acceptedRounds(), []);
    await first.page.getByRole('button', { name: /agree/i }).click();
    await first.sees('its first masked update is accepted', accepted);
  });

  test('tabs and native clients are in one masked sum', async () => {
    second = await openTab(browser, aggregator.page({ backend: 'cpu', examples: 100 }));
    await second.page.getByRole('button', { name: /start/i }).click();
    await second.page.getByRole('button', { name: /agree/i }).click();
    await second.sees('the second tab is counted', accepted);
    await first.sees('keys are exchanged', isState('sharing'));
    await first.sees('masks are taken off', isState('unmasking'));
    const shared = async () => {
      const [one, other] = [await first.acceptedRounds(), await second.acceptedRounds()];
      const { history } = await aggregator.state();
      return history.filter(({ round }) => one.includes(round) && other.includes(round));
    };
    await until('a round with both tabs is done', async () => (await shared()).length > 0, { seconds: 120, state: shared });
    for (const { round, reports } of await shared()) {
      assert.ok(reports >= TASK.minimumReports, `round ${round}: ${reports} reports`);
    }
  });

  test('the ledger covers every round, and the page shows what is spent', async () => {
    const { privacy, round } = await aggregator.state();
    assert.ok(privacy.debits >= round, `${privacy.debits} debits for ${round} rounds`);
    const ledger = await fetch(`${aggregator.http}/v1/tasks/${TASK.id}/privacy/ledger`).then((answer) => answer.text());
    assert.ok(ledger.trim().split('\n').length >= privacy.debits);
    const spent = (await first.events('privacy')).at(-1);
    const rounds = new Set(await first.acceptedRounds()).size;
    assert.ok(spent.participations >= rounds, `${spent.participations} participations in ${rounds} rounds`);
    assert.ok(spent.spentEpsilon > 0);
    const stored = await first.page.evaluate(() => {
      const key = Object.keys(localStorage).find((name) => name.startsWith('fedra:'));
      return JSON.parse(localStorage.getItem(key));
    });
    assert.ok(stored.participations >= spent.participations, `${stored.participations} of ${spent.participations} are stored`);
  });

  test('a tab that may store nothing sends no update', async () => {
    const third = await openTab(browser, aggregator.page({ backend: 'cpu', examples: 100 }));
    await third.page.evaluate(() => {
      Storage.prototype.setItem = () => {
        throw new DOMException('the quota is used up', 'QuotaExceededError');
      };
    });
    await third.page.getByRole('button', { name: /start/i }).click();
    await third.page.getByRole('button', { name: /agree/i }).click();
    await third.sees('the count has no place', ({ type, code }) => type === 'error' && code === 'participation-not-kept');
    assert.deepEqual(await third.acceptedRounds(), []);
    assert.equal((await third.events('privacy')).at(-1).participations, 0);
    await third.context.close();
  });

  test('a killed aggregator has never released more than its ledger shows', async () => {
    for (let kill = 0; kill < 3; kill += 1) {
      const { round } = await aggregator.state();
      await aggregator.reaches('a round in secure aggregation', ({ phase }) => /sharing|masking|unmasking|finalizing/.test(phase));
      const announced = (await aggregator.state()).round;
      assert.equal(await aggregator.end('SIGKILL'), 'SIGKILL');
      const report = execFileSync(
        program('fedra-aggregator'),
        ['privacy', 'report', '--task', TASK.id, '--config', aggregator.config, '--json-lines'],
        { encoding: 'utf8' },
      );
      const debits = report
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      for (let released = 1; released <= announced; released += 1) {
        assert.ok(
          debits.some((debit) => debit.round === released),
          `round ${released} was released without a debit`,
        );
      }
      assert.ok(debits.every(({ subjects }) => subjects.length >= TASK.minimumReports));
      await aggregator.start();
      const { privacy, round: revived } = await aggregator.state();
      assert.ok(revived >= round && revived <= debits.at(-1).round, `round ${revived} after ${round}`);
      assert.equal(privacy.debits, debits.length);
      await aggregator.reaches('a round after the restart', (task) => task.round > revived, 120);
    }
    const { round } = await aggregator.state();
    await first.sees('the tab takes part again', (event) => accepted(event) && event.round >= round, 120);
    assert.deepEqual(first.errors, [], 'no error in the page');
  });
});
