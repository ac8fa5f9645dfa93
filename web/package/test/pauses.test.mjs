// Rules by which a client rests on its own.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { installNavigator } from './fake-locks.mjs';
import { FakeWorker } from './fake-worker.mjs';
import { until } from './manners.mjs';

class Part extends EventTarget {
  constructor(values, event) {
    super();
    this.event = event;
    Object.assign(this, values);
  }
  set(values, event = this.event) {
    Object.assign(this, values);
    this.dispatchEvent(new Event(event));
  }
}

let battery;
let connection;
let undo;
const open = [];
beforeEach(() => {
  battery = new Part({ level: 0.9, charging: false }, 'levelchange');
  connection = new Part({ saveData: false, type: 'wifi' }, 'change');
  globalThis.document = new Part({ hidden: false }, 'visibilitychange');
  undo = [FakeWorker.install(), installNavigator({ connection, getBattery: async () => battery }), () => delete globalThis.document];
});
afterEach(async () => {
  for (const { client, worker } of open.splice(0)) {
    worker.say({ type: 'closed' });
    await client.close();
  }
  undo.forEach((back) => back());
});

const connect = async (pauses) => {
  const client = await FedraClient.connect({ url: 'ws://127.0.0.1:8080', task: 'digits', ...(pauses ? { pauses } : {}) });
  const worker = FakeWorker.last;
  const rests = () => worker.sent.filter(({ type }) => type === 'pause' || type === 'resume').map(({ type }) => type);
  const reasons = [];
  client.addEventListener('status', ({ detail }) => reasons.push(detail.reason ?? detail.state));
  // As the module answers.
  const answer = worker.postMessage;
  worker.postMessage = (message, transfer) => {
    answer.call(worker, message, transfer);
    if (message.type === 'pause') worker.say({ type: 'event', event: { type: 'status', state: 'paused' } });
    if (message.type === 'resume') worker.say({ type: 'event', event: { type: 'status', state: 'waiting' } });
  };
  const opened = { client, worker, rests, reasons };
  open.push(opened);
  // The battery is known.
  await new Promise((resolve) => setImmediate(resolve));
  return opened;
};

test('a low battery rests until it is charged or charging', async () => {
  const { rests, reasons } = await connect();
  assert.deepEqual(rests(), []);
  battery.set({ level: 0.19 });
  assert.deepEqual([rests(), reasons], [['pause'], ['battery']]);
  battery.set({ charging: true }, 'chargingchange');
  assert.deepEqual(
    [rests(), reasons],
    [
      ['pause', 'resume'],
      ['battery', 'waiting'],
    ],
  );
});

test('the share of the battery is the page’s, or no rule', async () => {
  battery.level = 0.4;
  const { rests } = await connect({ battery: 0.5 });
  assert.deepEqual(rests(), ['pause']);
  battery.level = 0.01;
  assert.deepEqual((await connect({ battery: false })).rests(), []);
});

test('a wish to save data rests from the start', async () => {
  connection.saveData = true;
  const { worker, rests } = await connect();
  assert.deepEqual(
    worker.sent.map(({ type }) => type),
    ['start', 'pause'],
  );
  connection.set({ saveData: false });
  assert.deepEqual(rests(), ['pause', 'resume']);
  connection.saveData = true;
  assert.deepEqual((await connect({ saveData: false })).rests(), []);
});

test('a mobile network rests', async () => {
  const { reasons } = await connect();
  connection.set({ type: 'cellular' });
  connection.set({ type: 'wifi' });
  assert.deepEqual(reasons, ['metered', 'waiting']);
  assert.deepEqual((await connect({ metered: false })).rests(), []);
});

test('a hidden tab goes on unless the page says otherwise', async () => {
  const [plain, careful] = [await connect(), await connect({ hidden: true })];
  document.set({ hidden: true });
  document.set({ hidden: false });
  assert.deepEqual([plain.rests(), careful.rests()], [[], ['pause', 'resume']]);
  assert.deepEqual(careful.reasons, ['hidden', 'waiting']);
});

test('several causes are one rest, with the cause that is left', async () => {
  const { client, rests, reasons } = await connect({ hidden: true });
  battery.set({ level: 0.1 });
  document.set({ hidden: true });
  client.pause();
  document.set({ hidden: false });
  client.resume();
  assert.deepEqual(rests(), ['pause']);
  assert.deepEqual(reasons, ['battery', 'hidden', 'paused', 'battery']);
  battery.set({ level: 0.9 });
  assert.deepEqual(rests(), ['pause', 'resume']);
});

test('a page’s pause is not ended by a rule', async () => {
  const { client, rests } = await connect();
  client.pause();
  battery.set({ level: 0.1 });
  battery.set({ level: 0.9 });
  assert.deepEqual(rests(), ['pause']);
  client.resume();
  assert.deepEqual(rests(), ['pause', 'resume']);
});

test('a worker that is started again rests like the one before', async () => {
  const { worker } = await connect();
  battery.set({ level: 0.1 });
  worker.onerror({ message: 'unreachable' });
  assert.deepEqual(
    FakeWorker.last.sent.map(({ type }) => type),
    ['start', 'pause'],
  );
  open.push({ client: open[0].client, worker: FakeWorker.last });
});

test('a browser that tells nothing, or denies the battery, follows no rule', async () => {
  undo.push(installNavigator({ getBattery: () => Promise.reject(new DOMException('denied', 'NotAllowedError')) }));
  const { rests } = await connect({ hidden: true });
  assert.deepEqual(rests(), []);
  undo.pop()();
});

test('a closed client follows no rule', async () => {
  const { client, worker, rests } = await connect();
  const closing = client.close();
  worker.say({ type: 'closed' });
  await closing;
  battery.set({ level: 0.1 });
  assert.deepEqual(rests(), []);
  assert.throws(() => client.pause(), { code: 'closed' });
  await until(() => client.latest('status').state === 'closed');
});

test('rules that are none are refused', async () => {
  for (const pauses of ['hidden', { battery: 2 }, { battery: true }, { hidden: 1 }, { visible: true }]) {
    await assert.rejects(connect(pauses), { code: 'invalid-options' });
  }
});
