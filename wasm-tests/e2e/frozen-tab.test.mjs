// A tab whose program stands still beside native clients: its network stack
// answers, as in a tab that the browser has frozen. Rounds go on at the others' pace.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Scene } from './harness/scene.mjs';
import { openTab } from './harness/tab.mjs';

const NATIVE = 4;
const DEADLINE_S = 3;
const TASK = {
  id: 'digits',
  model: 'softmax-regression',
  learningRate: 0.1,
  minimumCohort: 2,
  minimumReports: 2,
  deadline: `${DEADLINE_S}s`,
};
/** Missed deadlines after which a client is left out. */
const SEVERAL = 3;
/** Time that the tab stands still. */
const STILL_S = 40;

describe('a frozen tab', { concurrency: false }, () => {
  const scene = new Scene();

  before(() => scene.start(TASK));

  after(() => scene.end());

  test('holds up three rounds of the others, and no more', { timeout: 180_000 }, async () => {
    const { aggregator, browser } = scene;
    scene.startNativeClients({ clients: NATIVE, examples: 200 });
    await aggregator.reaches('rounds', ({ round }) => round >= 3, 60);
    const tab = await openTab(browser, aggregator.page({ backend: 'cpu', examples: 50, start: 1 }));
    await tab.sees('the tab takes part', ({ type, outcome }) => type === 'update' && outcome === 'accepted');
    const { round: frozen } = await aggregator.state();
    const thawed = standStill(tab.page.workers()[0]);
    const heldUp = ({ history }) => history.filter(({ round, seconds }) => round > frozen && seconds >= DEADLINE_S);
    const { round: leftOut } = await aggregator.reaches('rounds that wait for the tab', (task) => heldUp(task).length === SEVERAL, 60);
    const later = await aggregator.reaches('rounds without it', ({ round }) => round >= leftOut + 10, 60);
    assert.equal(heldUp(later).length, SEVERAL);

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

/** Blocks the worker's thread, and no other: it waits for a value that nothing changes. */
function standStill(worker) {
  return worker.evaluate((milliseconds) => {
    const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    Atomics.wait(new Int32Array(buffer), 0, 0, milliseconds);
  }, STILL_S * 1000);
}
