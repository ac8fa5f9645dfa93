// Privacy on the page's side: floors, consent, and the count of rounds that
// outlives the page.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { FakeStorage } from './fake-storage.mjs';
import { FakeWorker } from './fake-worker.mjs';

let storage;
let undo;
beforeEach(() => {
  const worker = FakeWorker.install();
  const installed = FakeStorage.install();
  storage = installed.storage;
  undo = () => [worker, installed.restore].forEach((restore) => restore());
});
afterEach(() => undo());

const options = { url: 'ws://127.0.0.1:8080/v1/connect', task: 'digits' };
const KEY = 'fedra:ws://127.0.0.1:8080/v1/connect#digits';
const terms = {
  type: 'privacy',
  policy: 'distributed',
  secureAggregation: true,
  noiseMultiplier: 1,
  clippingNorm: 0.5,
  minimumSurvivors: 80,
  colluders: 4,
  delta: 1e-5,
  budgetEpsilon: 8,
  roundEpsilon: 0.9,
  spentEpsilon: 0,
  nextEpsilon: 0.9,
  participations: 0,
  maxParticipations: 10,
  taskSpentEpsilon: 2,
  examplePrivacy: null,
};
const connect = async (privacy) => {
  const client = await FedraClient.connect({ ...options, ...(privacy ? { privacy } : {}) });
  const worker = FakeWorker.last;
  const errors = [];
  client.addEventListener('error', ({ detail }) => errors.push(detail));
  return {
    client,
    worker,
    errors,
    config: worker.sent[0].config.privacy,
    says: (event) => worker.say({ type: 'event', event }),
    counts: (participations, more) => worker.say({ type: 'event', event: { ...terms, participations, ...more } }),
    is: (state) => worker.say({ type: 'event', event: { type: 'status', state } }),
    sent: (type) => worker.sent.filter((message) => message.type === type).length,
  };
};
const kept = () => JSON.parse(storage.entries.get(KEY) ?? 'null');
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('the module is told the floors, and by default that consent is given', async () => {
  const { config } = await connect({ floors: { minNoiseMultiplier: 0.8, minCohort: 50, requireSecureAggregation: true } });
  const { subject, ...rest } = config;
  assert.match(subject, /^[0-9a-f]{32}$/);
  assert.deepEqual(rest, {
    floors: { minNoiseMultiplier: 0.8, minCohort: 50, requireSecureAggregation: true },
    consent: 'granted',
    participations: 0,
  });
});

test('the module is told what single examples are promised', async () => {
  const examples = { clippingNorm: 1, noiseMultiplier: 1.1, delta: 1e-5 };
  const { config } = await connect({ examples });
  assert.deepEqual(config.examples, examples);
});

test('without a question nobody is asked', async () => {
  const { says, sent } = await connect();
  says(terms);
  await settled();
  assert.equal(sent('consent'), 0);
});

for (const [name, answer] of Object.entries({
  true: () => true,
  'a promise of true': () => Promise.resolve(true),
  'true after a while': async () => (await settled(), true),
})) {
  test(`a question answered with ${name} lets the module take part`, async () => {
    const asked = [];
    const { config, says, sent, errors } = await connect({ consent: (given) => (asked.push(given), answer()) });
    assert.equal(config.consent, 'ask');
    assert.deepEqual(asked, [], 'nothing to ask before the terms are known');
    says(terms);
    says({ ...terms, clippingNorm: 0.4 });
    await settled();
    await settled();
    assert.deepEqual(asked, [terms], 'asked once, with the terms');
    assert.equal(sent('consent'), 1);
    assert.deepEqual(errors, []);
  });
}

for (const [name, answer, code, words] of [
  ['false', () => false, 'privacy-declined', /takes no part/],
  ['a promise of false', () => Promise.resolve(false), 'privacy-declined', /takes no part/],
  ['nothing', () => {}, 'privacy-declined', /takes no part/],
  ['a truthy thing that is not true', () => 'yes', 'privacy-declined', /takes no part/],
  [
    'an exception',
    () => {
      throw new Error('no dialog');
    },
    'consent-failed',
    /no dialog/,
  ],
  ['a rejected promise', () => Promise.reject(new Error('no dialog')), 'consent-failed', /no dialog/],
]) {
  test(`a question answered with ${name} closes the client and says why`, async () => {
    const { client, worker, says, sent, errors } = await connect({ consent: answer });
    says(terms);
    await settled();
    assert.equal(sent('consent'), 0);
    assert.deepEqual(
      errors.map(({ code, fatal }) => [code, fatal]),
      [[code, true]],
    );
    assert.match(errors[0].message, words);
    assert.equal(worker.sent.at(-1).type, 'close');
    worker.say({ type: 'closed' });
    await client.close();
    assert.equal(client.latest('status').state, 'closed');
  });
}

test('a task without privacy asks nothing and leaves nothing in storage', async () => {
  const { says, is } = await connect({ consent: () => assert.fail('was asked') });
  says({ ...terms, policy: 'none', participations: 3 });
  is('training');
  await settled();
  assert.equal(storage.entries.size, 0);
});

test('listeners hear the terms before the question is put', async () => {
  const order = [];
  const { client, says } = await connect({ consent: () => (order.push('question'), true) });
  client.addEventListener('privacy', () => order.push('listener'));
  says(terms);
  await settled();
  assert.deepEqual(order, ['listener', 'question']);
});

test('an answer that comes after the client has closed changes nothing', async () => {
  for (const answer of [true, false]) {
    let decide;
    const { client, worker, says, sent, errors } = await connect({ consent: () => new Promise((resolve) => (decide = resolve)) });
    says(terms);
    await settled();
    const closing = client.close();
    worker.say({ type: 'closed' });
    await closing;
    decide(answer);
    await settled();
    assert.equal(sent('consent'), 0);
    assert.deepEqual(errors, []);
  }
});

test('a count is in storage before any listener hears of it, and the next visit starts from it', async () => {
  const { client, counts, config } = await connect();
  const seen = [];
  client.addEventListener('privacy', () => seen.push(kept()?.participations));
  counts(0);
  counts(1);
  counts(2);
  assert.deepEqual(seen, [0, 1, 2]);
  const later = await connect();
  assert.equal(later.config.participations, 2);
  assert.equal(later.config.subject, config.subject);
});

test('another task, or another server, has its own count and its own name', async () => {
  const first = await connect();
  first.counts(3);
  for (const other of [{ task: 'letters' }, { url: 'ws://127.0.0.1:8081/v1/connect' }]) {
    await FedraClient.connect({ ...options, ...other });
    const { participations, subject } = FakeWorker.last.sent[0].config.privacy;
    assert.equal(participations, 0);
    assert.notEqual(subject, first.config.subject);
  }
});

test('a page that goes away between the keys and the update has used up a round', async () => {
  const { counts, is } = await connect();
  counts(1);
  is('sharing');
  assert.equal(kept().open.length, 1);
  assert.equal((await connect()).config.participations, 2);
  assert.deepEqual(kept().open, []);
  assert.equal((await connect()).config.participations, 2, 'only once');
});

for (const state of ['waiting', 'downloading', 'training', 'paused']) {
  test(`a round that ends with ${state} before its update left costs nothing`, async () => {
    const { counts, is } = await connect();
    counts(1);
    is('sharing');
    is(state);
    assert.deepEqual([kept().participations, kept().open], [1, []]);
  });
}

test('a round that went out is counted once, not again by its mark', async () => {
  const { counts, is } = await connect();
  counts(0);
  is('sharing');
  counts(1);
  is('uploading');
  is('unmasking');
  is('reported');
  is('waiting');
  assert.deepEqual([kept().participations, kept().open], [1, []]);
});

test('two tabs of a site add to one count, and take no round of the other for two', async () => {
  const first = await connect();
  const second = await connect();
  first.counts(0);
  second.counts(0);
  first.counts(1);
  second.counts(1);
  assert.equal(kept().participations, 2);
  first.is('sharing');
  // A third tab opens: it cannot tell whether the first one is alive.
  assert.equal((await connect()).config.participations, 3);
  first.counts(2);
  assert.equal(kept().participations, 3);
});

test('of two tabs that were opened before the first entry, one goes on: the other has been replaced', async () => {
  const asked = [];
  const first = await connect();
  const second = await connect({ consent: (given) => (asked.push(given), true) });
  assert.notEqual(first.config.subject, second.config.subject);
  first.counts(0);
  second.counts(0);
  await settled();
  assert.deepEqual(asked, []);
  assert.deepEqual(
    second.errors.map(({ code, fatal }) => [code, fatal]),
    [['refused-replaced', true]],
  );
  assert.deepEqual(second.worker.sent.slice(1), [{ type: 'close' }]);
  // An update sent before the news counts.
  second.counts(1);
  first.counts(1);
  await settled();
  assert.deepEqual([kept().participations, kept().subject], [2, first.config.subject]);
  assert.deepEqual(first.errors, []);
  assert.equal((await connect()).config.subject, first.config.subject);
});

test('a tab whose entry was written over has been replaced, too', async () => {
  const { counts, is, errors } = await connect();
  counts(0);
  storage.entries.set(KEY, JSON.stringify({ subject: 'a'.repeat(32), participations: 0, open: [] }));
  is('sharing');
  await settled();
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['refused-replaced'],
  );
});

test('a storage that refuses keeps the count as long as the page', async () => {
  const url = 'ws://127.0.0.1:8080/refusing/v1/connect';
  storage.refuses = true;
  const config = () => FakeWorker.last.sent[0].config.privacy;
  await FedraClient.connect({ ...options, url });
  const { subject } = config();
  FakeWorker.last.say({ type: 'event', event: { ...terms, participations: 4 } });
  await FedraClient.connect({ ...options, url });
  assert.deepEqual([config().participations, config().subject], [4, subject]);
});

for (const [name, text] of Object.entries({
  'no JSON': '{',
  'a negative count': JSON.stringify({ subject: 'a'.repeat(32), participations: -1, open: [] }),
  'a fractional count': JSON.stringify({ subject: 'a'.repeat(32), participations: 1.5, open: [] }),
  'another name': JSON.stringify({ subject: 'me', participations: 1, open: [] }),
  'no list of open rounds': JSON.stringify({ subject: 'a'.repeat(32), participations: 1 }),
  null: 'null',
})) {
  test(`an entry with ${name} counts as none`, async () => {
    storage.entries.set(KEY, text);
    const { config, counts } = await connect();
    assert.equal(config.participations, 0);
    assert.match(config.subject, /^[0-9a-f]{32}$/);
    counts(1);
    assert.deepEqual([kept().participations, kept().subject], [1, config.subject]);
  });
}

test('storage that is cleared under way does not stop the count', async () => {
  const { counts, is, config } = await connect();
  counts(2);
  is('sharing');
  storage.entries.clear();
  counts(3);
  assert.deepEqual(kept(), { subject: config.subject, participations: 3, open: [] });
});

test('when the WebGPU module crashes, its successor knows the consent and the rounds, an open one too', async () => {
  FakeWorker.onStart = [{ type: 'started', webgpu: true }];
  const { worker, says, counts, is, config } = await connect({ floors: { minCohort: 2 }, consent: () => true });
  says(terms);
  await settled();
  counts(1);
  is('sharing');
  worker.onerror({ message: 'unreachable' });
  assert.notEqual(FakeWorker.last, worker);
  assert.deepEqual(FakeWorker.last.sent[0].config.privacy, {
    floors: { minCohort: 2 },
    consent: 'granted',
    participations: 2,
    subject: config.subject,
  });
  assert.deepEqual([kept().participations, kept().open], [2, []]);
});

test('an answer that is still awaited reaches the module that took over', async () => {
  FakeWorker.onStart = [{ type: 'started', webgpu: true }];
  let decide;
  const { worker, says } = await connect({ consent: () => new Promise((resolve) => (decide = resolve)) });
  says(terms);
  await settled();
  worker.onerror({ message: 'unreachable' });
  assert.equal(FakeWorker.last.sent[0].config.privacy.consent, 'ask');
  decide(true);
  await settled();
  assert.equal(FakeWorker.last.sent.at(-1).type, 'consent');
});
