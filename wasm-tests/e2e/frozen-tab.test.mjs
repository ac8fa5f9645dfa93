// A tab whose program stands still beside native clients: its network stack
// answers, as in a tab that the browser has frozen. Rounds go on at the others' pace.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Scene } from './harness/scene.mjs';
import { Sites } from './harness/sites.mjs';
import { openTab } from './harness/tab.mjs';

const NATIVE = 4;
const DEADLINE_S = 5;
const TASK = {
  id: 'digits', model: 'softmax-regression', learningRate: 0.1, minimumCohort: 2, minimumReports: 2, deadline: `${DEADLINE_S}s`, server: 'idle_timeout = "10s"',
};
/** How long rounds are counted without it, and with it once it has been frozen for a minute. */
const WITHOUT_S = 20;
const MINUTE_S = 60;
const MOST = 1.2;

describe('a frozen tab', { concurrency: false }, () => {
  const scene = new Scene();

  before(() => scene.start(TASK));

  after(() => scene.end());

  /** The first round after `round` that ends in `seconds` or later, and when. */
  async function nextRound(round, seconds) {
    const from = performance.now();
    const isLate = () => performance.now() - from >= seconds * 1000;
    const state = await scene.aggregator.reaches('another round', (task) => task.round > round && isLate(), seconds + 60);
    return { round: state.round, at: performance.now() };
  }

  /** Seconds that a round takes, on average over so many seconds. */
  async function pace(seconds) {
    const first = await nextRound((await scene.aggregator.state()).round, 0);
    const last = await nextRound(first.round, seconds);
    return (last.at - first.at) / 1000 / (last.round - first.round);
  }

  test('does not hold up the rounds of the others', { timeout: 300_000 }, async () => {
    const { aggregator, browser } = scene;
    scene.startNativeClients({ clients: NATIVE, examples: 200 });
    await aggregator.reaches('rounds', ({ round }) => round >= 3, 60);
    const without = await pace(WITHOUT_S);

    const tab = await openTab(browser, aggregator.page({ backend: 'cpu', examples: 50, start: 1 }));
    await tab.sees('the tab takes part', ({ type, outcome }) => type === 'update' && outcome === 'accepted');
    const thawed = standStill(tab.page.workers()[0]);
    const first = await pace(MINUTE_S);
    const second = await pace(MINUTE_S);
    console.log(`seconds a round: ${without.toFixed(2)} without the tab; frozen ${first.toFixed(2)} in its first minute, ${second.toFixed(2)} in its second`);
    assert.ok(second <= MOST * without, `${second} s a round with the frozen tab, ${without} s without it`);

    await thawed;
    const before = (await tab.events()).length;
    await tab.page.waitForFunction(
      (seen) => window.watched.events.slice(seen).some(({ type, state }) => type === 'status' && state === 'waiting'),
      before,
      { timeout: 60_000 },
    );
    await tab.close();
  });
});

/** Blocks the worker's thread for two minutes, and no other: it waits for a value that nothing changes. */
function standStill(worker) {
  return worker.evaluate((milliseconds) => {
    const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    Atomics.wait(new Int32Array(buffer), 0, 0, milliseconds);
  }, (2 * MINUTE_S + 10) * 1000);
}
