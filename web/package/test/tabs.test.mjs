// One of several tabs leads; the others show its events, and take its place.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeLocks, installNavigator } from './fake-locks.mjs';
import { FakeStorage } from './fake-storage.mjs';
import { FakeWorker } from './fake-worker.mjs';
import { terms, until } from './manners.mjs';

let undo;
const open = [];
beforeEach(() => {
  const { restore } = FakeStorage.install();
  undo = [FakeWorker.install(), restore, installNavigator({ locks: new FakeLocks() })];
});
afterEach(async () => {
  await Promise.all(open.splice(0).map(close));
  undo.forEach((back) => back());
});

const place = { url: 'ws://127.0.0.1:8080/v1/connect', task: 'digits' };
const data = { features: Float32Array.of(1, 2), labels: [0], shape: [1, 2] };

const connect = async (options = {}) => {
  const before = FakeWorker.all.length;
  const client = await FedraClient.connect({ ...place, tabs: 'one', ...options });
  const tab = { client, errors: [], started: FakeWorker.all.length > before };
  client.addEventListener('error', ({ detail }) => tab.errors.push(detail));
  open.push(tab);
  return tab;
};
const close = ({ client }) => {
  const closing = client.close();
  for (const worker of FakeWorker.all) if (worker.sent.at(-1)?.type === 'close') worker.say({ type: 'closed' });
  return closing;
};
const leads = ({ client }) => client.latest('tab')?.leads;
const says = (event) => FakeWorker.last.say({ type: 'event', event });

test('the first tab leads, and the second starts no worker', async () => {
  const [first, second] = [await connect(), await connect()];
  assert.deepEqual([leads(first), leads(second)], [true, false]);
  assert.deepEqual([first.started, second.started], [true, false]);
});

test('a tab that follows shows the events, those before it came too', async () => {
  const first = await connect();
  says({ type: 'status', state: 'training', round: 3 });
  const second = await connect();
  await until(() => second.client.latest('status')?.state === 'training');
  says({ type: 'update', round: 3, outcome: 'accepted' });
  await until(() => second.client.latest('update'));
  assert.deepEqual(second.client.latest('update'), first.client.latest('update'));
  assert.equal(leads(second), false, 'its own place stays');
});

test('the tab that follows takes the place of one that has closed, with its data', async () => {
  const first = await connect();
  const second = await connect();
  await second.client.train(data);
  await close(first);
  await until(() => leads(second));
  assert.equal(FakeWorker.all.length, 2);
  assert.deepEqual(
    FakeWorker.last.sent.map(({ type }) => type),
    ['start', 'dataset'],
  );
  assert.notEqual(second.client.latest('status')?.state, 'closed');
});

test('it goes on with the count of the tab before it', async () => {
  const first = await connect();
  const second = await connect();
  const { subject } = FakeWorker.last.sent[0].config.privacy;
  says(terms);
  FakeWorker.last.say({ type: 'record', id: 1, participations: 1 });
  await close(first);
  await until(() => leads(second));
  const { participations, subject: later } = FakeWorker.last.sent[0].config.privacy;
  assert.deepEqual([participations, later], [1, subject]);
  assert.deepEqual(second.errors, []);
});

test('data that do not fit once the tab leads are an event', async () => {
  const first = await connect();
  const second = await connect();
  await second.client.train(data);
  await close(first);
  await until(() => leads(second));
  const { id } = FakeWorker.last.sent.at(-1);
  FakeWorker.last.say({ type: 'refused', id, code: 'bad-dataset', message: 'class 11 of 10' });
  assert.deepEqual([second.errors[0].code, second.errors[0].fatal], ['bad-dataset', false]);
});

test('a tab that follows has no model, and says where there is one', async () => {
  await connect();
  const { client } = await connect();
  await assert.rejects(client.predict(Float32Array.of(1)), { code: 'other-tab', message: /FedraClient\.load/ });
});

test('a pause of a tab that follows holds once it leads', async () => {
  const first = await connect();
  const second = await connect();
  second.client.pause();
  await close(first);
  await until(() => leads(second));
  assert.deepEqual(
    FakeWorker.last.sent.map(({ type }) => type),
    ['start', 'pause'],
  );
});

test('a no in the tab that leads ends those that follow, and they do not ask', async () => {
  const first = await connect({ privacy: { consent: () => false } });
  const second = await connect({ privacy: { consent: () => assert.fail('was asked') } });
  says(terms);
  await until(() => second.errors.length > 0);
  assert.deepEqual([first.errors[0].code, second.errors[0].code], ['privacy-declined', 'privacy-declined']);
  await close(first);
  await until(() => second.client.latest('status')?.state === 'closed');
  assert.equal(FakeWorker.all.length, 1);
});

test('after another fatal error of the first tab the second one tries', async () => {
  const first = await connect();
  const second = await connect();
  says({ type: 'error', code: 'refused-overloaded', message: 'no room', fatal: true });
  FakeWorker.last.say({ type: 'closed' });
  await until(() => leads(second));
  assert.deepEqual([first.errors.length, second.errors.length], [1, 0]);
});

test('a tab that gives up its wait does not lead', async () => {
  const [first, second, third] = [await connect(), await connect(), await connect()];
  await close(second);
  await close(first);
  await until(() => leads(third));
  assert.equal(leads(second), false);
});

test('a tab that rests in the background leaves the lead to one in the foreground', async () => {
  const pages = [new EventTarget(), new EventTarget()];
  const hide = (page, hidden) => Object.assign(page, { hidden }).dispatchEvent(new Event('visibilitychange'));
  const tabs = [];
  for (const page of pages) {
    globalThis.document = Object.assign(page, { hidden: false });
    tabs.push(await connect({ pauses: { hidden: true } }));
  }
  undo.push(() => delete globalThis.document);
  const [first, second] = tabs;
  const [worker] = FakeWorker.all;
  hide(pages[0], true);
  await until(() => leads(second));
  assert.deepEqual([leads(first), worker.terminated, FakeWorker.all.length], [false, true, 2]);
  hide(pages[1], true);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(leads(second), true, 'no other tab could take part');
  hide(pages[0], false);
  await until(() => leads(first));
  assert.deepEqual([leads(second), first.errors, second.errors], [false, [], []]);
});

test('another task, and tabs that take part each, are not waited for', async () => {
  const tabs = [await connect(), await connect({ task: 'letters' }), await connect({ tabs: 'each' })];
  assert.deepEqual(
    tabs.map(({ started }) => started),
    [true, true, true],
  );
  assert.equal(tabs[2].client.latest('tab'), undefined);
});

test('without locks each tab leads', async () => {
  undo.push(installNavigator({}));
  const tabs = [await connect(), await connect()];
  assert.deepEqual(tabs.map(leads), [true, true]);
  undo.pop()();
});

test('a worker that fails lets the next tab lead', async () => {
  FakeWorker.onStart = [{ type: 'failed', code: 'wasm-load-failed', message: 'no such file' }];
  await assert.rejects(connect(), { code: 'wasm-load-failed' });
  FakeWorker.onStart = [{ type: 'started' }];
  assert.equal(leads(await connect()), true);
});

test('another value than one or each is refused', async () => {
  await assert.rejects(connect({ tabs: 2 }), { code: 'invalid-options' });
});
