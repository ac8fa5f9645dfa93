// A consent that is kept: given, read back, asked for again, withdrawn.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeIndexedDb } from './fake-indexed-db.mjs';
import { FakeStorage } from './fake-storage.mjs';
import { FakeWorker } from './fake-worker.mjs';
import { terms, until } from './manners.mjs';

let database;
let undo;
const clients = [];
beforeEach(() => {
  const worker = FakeWorker.install();
  const installed = FakeIndexedDb.install();
  database = installed.storage;
  const { restore } = FakeStorage.install();
  undo = () => [worker, installed.restore, restore].forEach((back) => back());
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map(({ client, worker }) => (worker.say({ type: 'closed' }), client.close())));
  undo();
});

const place = { url: 'ws://127.0.0.1:8080/v1/connect', task: 'digits' };
const form = { text: 'We learn from your digits.', version: '1' };

/** A client whose form is answered by `ask`, which is told each question. */
const connect = async (more = {}, ask = () => true) => {
  const asked = [];
  const put = (given) => (asked.push(given), ask(given));
  const client = await FedraClient.connect({ ...place, privacy: { consent: { ...form, ...more, ask: put } } });
  const worker = FakeWorker.last;
  const errors = [];
  client.addEventListener('error', ({ detail }) => errors.push(detail));
  const says = (event) => worker.say({ type: 'event', event });
  const sent = () => worker.sent.map(({ type }) => type);
  const opened = { client, worker, asked, errors, says, sent };
  clients.push(opened);
  return opened;
};
const goesOn = ({ sent }) => until(() => sent().includes('resume'));

for (const policy of ['distributed', 'none']) {
  test(`with the policy ${policy} nothing begins before the answer, which is kept`, async () => {
    let decide;
    const opened = await connect({}, () => new Promise((resolve) => (decide = resolve)));
    assert.equal(opened.worker.sent[0].config.privacy.consent, 'ask');
    assert.deepEqual(opened.sent(), ['start', 'pause']);
    opened.says({ type: 'status', state: 'paused' });
    assert.equal(opened.client.latest('status').state, 'connecting', 'the terms are not known');
    opened.says({ ...terms, policy });
    await until(() => decide);
    opened.says({ type: 'status', state: 'paused' });
    assert.equal(opened.client.latest('status').state, 'consent');
    assert.equal(await FedraClient.consent(place), null);
    decide(true);
    await goesOn(opened);
    assert.deepEqual(opened.sent().slice(-2), ['resume', 'consent']);
    const { since, terms: agreed, ...kept } = await FedraClient.consent(place);
    assert.deepEqual(kept, form);
    assert.ok(since instanceof Date);
    assert.deepEqual([agreed.policy, agreed.budgetEpsilon, 'spentEpsilon' in agreed], [policy, 8, false]);
  });
}

test('the next visit is not asked again, and nor is one after rounds have been spent', async () => {
  const first = await connect();
  first.says(terms);
  await goesOn(first);
  const second = await connect();
  second.says({ ...terms, spentEpsilon: 2, participations: 3, clippingNorm: 0.3 });
  await goesOn(second);
  assert.deepEqual([first.asked.length, second.asked.length], [1, 0]);
});

for (const [name, more, changed] of [
  ['text', { text: 'We learn from your digits and letters.' }, {}],
  ['version', { version: '2' }, {}],
  ['budget', {}, { budgetEpsilon: 10 }],
  ['policy', {}, { policy: 'central', secureAggregation: false }],
]) {
  test(`another ${name} asks again`, async () => {
    const first = await connect();
    first.says(terms);
    await goesOn(first);
    const second = await connect(more);
    second.says({ ...terms, ...changed });
    await goesOn(second);
    assert.equal(second.asked.length, 1);
    const kept = await FedraClient.consent(place);
    assert.deepEqual([kept.text, kept.version], [second.asked && (more.text ?? form.text), more.version ?? form.version]);
  });
}

test('another task has its own consent', async () => {
  const opened = await connect();
  opened.says(terms);
  await goesOn(opened);
  assert.equal(await FedraClient.consent({ ...place, task: 'letters' }), null);
});

test('a no is not kept, and ends the client', async () => {
  const opened = await connect({}, () => false);
  opened.says(terms);
  await until(() => opened.errors.length > 0);
  assert.equal(opened.errors[0].code, 'privacy-declined');
  assert.equal(await FedraClient.consent(place), null);
});

test('a withdrawal ends every client at once, and forgets the consent and the files', async () => {
  const first = await connect();
  first.says(terms);
  await goesOn(first);
  const second = await connect();
  second.says(terms);
  await goesOn(second);
  database.of('fedra').set('ws://127.0.0.1:8080/v1/connect#digits', { files: [], options: {}, since: new Date() });
  await FedraClient.revoke(place);
  await until(() => first.errors.length > 0 && second.errors.length > 0);
  for (const { errors, worker } of [first, second]) {
    assert.deepEqual([errors[0].code, errors[0].fatal, worker.sent.at(-1).type], ['consent-revoked', true, 'close']);
  }
  assert.equal(await FedraClient.consent(place), null);
  assert.equal(await FedraClient.kept(place), null);
  const third = await connect();
  third.says(terms);
  await goesOn(third);
  assert.equal(third.asked.length, 1);
});

test('an answer that comes after a withdrawal is not kept', async () => {
  let decide;
  const opened = await connect({}, () => new Promise((resolve) => (decide = resolve)));
  opened.says(terms);
  await until(() => decide);
  await FedraClient.revoke(place);
  await until(() => opened.errors.length > 0);
  decide(true);
  assert.equal(await FedraClient.consent(place), null);
  assert.ok(!opened.sent().includes('consent'));
});

test('where nothing can be kept the consent holds for the visit, and the page is told', async () => {
  database.refuses = 'SecurityError';
  const opened = await connect();
  opened.says(terms);
  await goesOn(opened);
  assert.deepEqual([opened.errors[0].code, opened.errors[0].fatal], ['no-storage', false]);
  await assert.rejects(FedraClient.consent(place), { code: 'no-storage' });
  await assert.rejects(FedraClient.revoke(place), { code: 'no-storage' });
});

test('a form without a text, a version or a question is refused', async () => {
  for (const consent of [
    { ...form },
    { ...form, ask: 1 },
    { text: '', version: '1', ask: () => true },
    { text: 'x', ask: () => true },
    7,
  ]) {
    await assert.rejects(FedraClient.connect({ ...place, privacy: { consent } }), { code: 'invalid-options' });
  }
});
