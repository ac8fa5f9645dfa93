// One cohort of everything there is: a WebGPU tab, a CPU tab and native
// clients, with the real aggregator and the real page. The tests go in order
// and share the programs: each one starts from where the last one ended.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Scene } from './harness/scene.mjs';
import { openTab } from './harness/tab.mjs';

const NATIVE = 3;
const TASK = { id: 'digits', model: 'mnist-2nn', learningRate: 0.1, minimumCohort: NATIVE };
const FEW = 30;
const SOME = 200;

const accepted = (event) => event.type === 'update' && event.outcome === 'accepted';
const isBackend =
  (wanted) =>
  ({ type, backend }) =>
    type === 'backend' && backend === wanted;
const evaluated = ({ history }) => history.filter(({ accuracy }) => accuracy !== null);

describe('a cohort of tabs and native clients', { concurrency: false }, () => {
  const scene = new Scene();
  let aggregator;
  let browser;
  let cpu;
  let webgpu;

  before(async () => {
    ({ aggregator, browser } = await scene.start(TASK));
  });

  after(() => scene.end());

  test('one click, and a tab is in the next round', async () => {
    cpu = await openTab(browser, aggregator.page({ backend: 'cpu', examples: SOME }));
    await cpu.page.getByRole('button', { name: /start/i }).click();
    await cpu.sees('the CPU tab waits', ({ type, state }) => type === 'status' && state === 'waiting');
    scene.startNativeClients({ clients: NATIVE, examples: 600 });
    const { round } = await cpu.sees('the first update is accepted', accepted);
    assert.equal(round, 1);
    const events = await cpu.events();
    const steps = ['downloading', 'training', 'uploading', 'reported'];
    assert.deepEqual(
      events
        .map(({ state }) => state)
        .filter((state) => steps.includes(state))
        .slice(0, steps.length),
      steps,
    );
    const { step, steps: all } = events.findLast((event) => event.type === 'progress' && event.round === round);
    assert.equal(step, all, 'the last step of training is told, however short it was');
    const backends = (await cpu.events('backend')).map(({ backend }) => backend);
    assert.deepEqual([...new Set(backends)], ['cpu']);
  });

  // Before the WebGPU tab: its adapter in software takes every core, and the
  // browser counts the time that a task waits for one.
  test('the page stays responsive while it trains', async () => {
    await cpu.forgetLongTasks();
    const from = (await cpu.acceptedRounds()).length;
    const pause = cpu.page.getByRole('button', { name: /pause/i });
    const resume = cpu.page.getByRole('button', { name: /resume/i });
    await cpu.sees('the CPU tab trains', ({ type }) => type === 'progress');
    await pause.click();
    await resume.click();
    await pause.waitFor();
    await aggregator.reaches(
      'two more rounds',
      (() => {
        let first;
        return ({ round }) => round >= (first ??= round) + 2;
      })(),
      120,
    );
    assert.ok((await cpu.acceptedRounds()).length > from, 'it went on training');
    assert.deepEqual(await cpu.longTasks(), [], 'no task of 50 ms or more on the main thread');
  });

  test('a WebGPU tab, a CPU tab and native clients report in the same rounds', async () => {
    webgpu = await openTab(browser, aggregator.page({ backend: 'webgpu', examples: FEW, start: 1 }));
    await webgpu.sees('the backend is WebGPU', isBackend('webgpu'));
    const everyone = ({ history }) => history.filter(({ reports }) => reports === NATIVE + 2);
    const state = await aggregator.reaches('two rounds with everyone', (task) => everyone(task).length >= 2, 240);
    const rounds = everyone(state).map(({ round }) => round);
    const last = rounds.at(-1);
    await webgpu.sees('the WebGPU tab hears of its update', (event) => accepted(event) && event.round >= last);
    await cpu.sees('the CPU tab hears of its update', (event) => accepted(event) && event.round >= last);
    for (const tab of [cpu, webgpu]) {
      const own = await tab.acceptedRounds();
      assert.ok(
        rounds.every((round) => own.includes(round)),
        `rounds ${rounds} of all, ${own} of a tab`,
      );
    }
  });

  test("the WebGPU tab names its adapter and how far its gradient is from the CPU's", async () => {
    const [{ adapter, gradientError }] = await webgpu.events('backend');
    assert.ok(gradientError <= 1e-3, `gradient error ${gradientError}`);
    assert.ok(adapter, 'the adapter has a name');
  });

  test('the global accuracy rises', async () => {
    const state = await aggregator.reaches('six evaluated rounds', (task) => evaluated(task).length >= 6, 240);
    const accuracies = evaluated(state).map(({ accuracy }) => accuracy);
    assert.ok(accuracies.at(-1) > accuracies[0] + 0.05, `accuracies ${accuracies}`);
    assert.ok(accuracies.at(-1) > 0.5, `accuracies ${accuracies}`);
  });

  test('every tab fetches one WebAssembly module, the same one', () => {
    const modules = (tab) => tab.requests.filter((url) => /\.wasm$/.test(new URL(url).pathname));
    const [own, ...others] = modules(cpu);
    assert.deepEqual(others, []);
    assert.match(own, /\/fedra_bg-\w+\.wasm$/);
    assert.deepEqual(modules(webgpu), [own]);
  });

  test('a tab that is closed in mid-round does not stall it', async () => {
    const before = (await webgpu.events()).length;
    await webgpu.page.waitForFunction(
      (seen) => window.watched.events.slice(seen).some(({ type, state }) => type === 'status' && state === 'training'),
      before,
      { timeout: 120_000 },
    );
    const { round } = await aggregator.state();
    await webgpu.close();
    webgpu = undefined;
    // The deadline of one round is twice these 60 seconds.
    await aggregator.reaches('two more rounds', (task) => task.round >= round + 2, 60);
  });

  test('a tab that loses its WebGPU device twice in a round goes on with the CPU', async () => {
    const tab = await openTab(browser, aggregator.page({ backend: 'webgpu', examples: FEW }));
    // The page cannot reach a device in the worker, so the worker destroys each one itself.
    const patched = tab.page.waitForEvent('worker').then(async (worker) => {
      await worker.evaluate(destroyEachDevice);
      return worker;
    });
    await tab.page.getByRole('button', { name: /start/i }).click();
    const worker = await patched;
    await tab.sees('the backend is WebGPU', isBackend('webgpu'));
    await tab.sees('the backend is the CPU', isBackend('cpu'));
    const losses = (await tab.events('error')).filter(({ code }) => code === 'device-lost');
    assert.deepEqual(
      losses.map(({ fatal }) => fatal),
      [false, false],
    );
    assert.match(losses[0].message, /; training starts again$/);
    assert.match(losses[1].message, /going on with the CPU/);
    assert.equal(await worker.evaluate(() => self.devices), 2);
    const { round } = await aggregator.state();
    await tab.sees('its updates count again', (event) => accepted(event) && event.round > round);
    assert.deepEqual(
      (await tab.events('error')).filter(({ fatal }) => fatal),
      [],
    );
    await tab.close();
  });

  test('with auto a tab does not train on an adapter that runs on the CPU, and says so', async () => {
    const tab = await openTab(browser, aggregator.page({ backend: 'auto', examples: FEW, start: 1 }));
    const told = await tab.sees('the choice is told', ({ type, reason }) => type === 'backend' && /cannot be used/.test(reason));
    assert.match(told.reason, /^WebGPU cannot be used: its adapter \(.+\) runs on the CPU$/);
    const { round } = await aggregator.state();
    await tab.sees('it takes part', (event) => accepted(event) && event.round > round);
    const backends = await tab.events('backend');
    assert.deepEqual(
      backends.map(({ backend }) => backend),
      ['cpu', 'cpu'],
    );
    assert.equal(backends[0].reason, 'measuring WebGPU beside it');
    assert.deepEqual(await tab.events('error'), [], 'nothing that the owner has to know');
    await tab.close();
  });

  test('a killed aggregator goes on from its last round, and the tab comes back', async () => {
    const { round, model } = await aggregator.state();
    assert.equal(await aggregator.end('SIGKILL'), 'SIGKILL');
    await cpu.sees('the tab tries again', ({ type, state }) => type === 'status' && state === 'reconnecting');
    await aggregator.start();
    const restarted = await aggregator.state();
    assert.ok(restarted.round >= round, `round ${restarted.round} after ${round}`);
    assert.equal(restarted.model.parameters, model.parameters);
    assert.ok(
      restarted.history.some((entry) => entry.round === round),
      'the history is kept',
    );
    await cpu.sees('an update after the restart is accepted', (event) => accepted(event) && event.round > restarted.round);
    const everyone = (entry) => entry.round > restarted.round && entry.reports === NATIVE + 1;
    await aggregator.reaches('a round with the tab and the native clients', ({ history }) => history.some(everyone), 120);
    assert.deepEqual(cpu.errors, [], 'no error in the page');
  });
});

/**
 * Runs in the worker: destroys each device with the first work that is submitted to it
 * after it was told as the backend, and counts the devices.
 */
function destroyEachDevice() {
  let device;
  let isTold = false;
  self.devices = 0;
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...options) {
    device = await request.apply(this, options);
    self.devices += 1;
    return device;
  };
  const { submit } = GPUQueue.prototype;
  GPUQueue.prototype.submit = function (...buffers) {
    submit.apply(this, buffers);
    if (isTold) device.destroy();
    isTold = false;
  };
  const post = self.postMessage;
  self.postMessage = (message, ...rest) => {
    if (message.event?.backend === 'webgpu') isTold = true;
    post.call(self, message, ...rest);
  };
}
