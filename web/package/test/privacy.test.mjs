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
    /** The module asks for the count to be stored, and is answered. */
    records: (participations) => {
      worker.say({ type: 'record', id: participations, participations });
      return worker.sent.at(-1);
    },
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
  const { says } = await connect({ consent: () => assert.fail('was asked') });
  says({ ...terms, policy: 'none', participations: 3 });
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

test('a count is in storage before the module is answered, and the next visit starts from it', async () => {
  const { worker, says, records, config } = await connect();
  says(terms);
  assert.equal(kept().participations, 0);
  const answer = worker.postMessage;
  const stored = [];
  worker.postMessage = (message) => {
    stored.push([message.type, kept().participations]);
    answer.call(worker, message);
  };
  assert.deepEqual(records(1), { type: 'recorded', id: 1 });
  assert.deepEqual(records(2), { type: 'recorded', id: 2 });
  assert.deepEqual(stored, [
    ['recorded', 1],
    ['recorded', 2],
  ]);
  const later = await connect();
  assert.equal(later.config.participations, 2);
  assert.equal(later.config.subject, config.subject);
});

for (const policy of ['distributed', 'local', 'central']) {
  test(`a count is stored for a task whose policy is ${policy}`, async () => {
    const { says, records } = await connect();
    says({ ...terms, policy });
    assert.equal(records(1).type, 'recorded');
    assert.equal(kept().participations, 1);
  });
}

test('a round that is recorded twice counts once', async () => {
  const { records } = await connect();
  records(1);
  // The first one was over before its update left: the number is the same.
  assert.equal(records(1).type, 'recorded');
  assert.equal(kept().participations, 1);
});

for (const [name, refusal] of Object.entries({
  'is denied': 'SecurityError',
  'has no room': 'QuotaExceededError',
})) {
  test(`a storage that ${name} keeps the round from being sent, and the module hears why`, async () => {
    const { says, records, errors } = await connect();
    says(terms);
    storage.refuses = refusal;
    const { type, id, message } = records(1);
    assert.deepEqual([type, id], ['not-recorded', 1]);
    assert.match(message, /the count of rounds cannot be stored: no storage here/);
    assert.deepEqual(errors, [], 'the module tells the page');
    storage.refuses = undefined;
    assert.equal(kept().participations, 0);
    assert.equal(records(1).type, 'recorded');
    assert.equal(kept().participations, 1);
  });
}

test('another task, or another server, has its own count and its own name', async () => {
  const first = await connect();
  first.records(3);
  for (const other of [{ task: 'letters' }, { url: 'ws://127.0.0.1:8081/v1/connect' }]) {
    await FedraClient.connect({ ...options, ...other });
    const { participations, subject } = FakeWorker.last.sent[0].config.privacy;
    assert.equal(participations, 0);
    assert.notEqual(subject, first.config.subject);
  }
});

test('two tabs of a site add to one count', async () => {
  const first = await connect();
  first.says(terms);
  const second = await connect();
  assert.equal(second.config.subject, first.config.subject);
  first.records(1);
  second.records(1);
  assert.equal(kept().participations, 2);
});

test('of two tabs that were opened before the first entry, one goes on: the other has been replaced', async () => {
  const asked = [];
  const first = await connect();
  const second = await connect({ consent: (given) => (asked.push(given), true) });
  assert.notEqual(first.config.subject, second.config.subject);
  first.says(terms);
  second.says(terms);
  await settled();
  assert.deepEqual(asked, []);
  assert.deepEqual(
    second.errors.map(({ code, fatal }) => [code, fatal]),
    [['refused-replaced', true]],
  );
  assert.deepEqual(second.worker.sent.slice(1), [{ type: 'close' }]);
  first.records(1);
  await settled();
  assert.deepEqual([kept().participations, kept().subject], [1, first.config.subject]);
  assert.deepEqual(first.errors, []);
  assert.equal((await connect()).config.subject, first.config.subject);
});

test('a tab whose entry was written over has been replaced, too, and sends nothing', async () => {
  const { says, records, errors } = await connect();
  says(terms);
  storage.entries.set(KEY, JSON.stringify({ subject: 'a'.repeat(32), participations: 0 }));
  assert.equal(records(1).type, 'not-recorded');
  await settled();
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['refused-replaced'],
  );
  assert.equal(kept().participations, 0);
});

test('rounds that an earlier version left open count as taken part in', async () => {
  storage.entries.set(KEY, JSON.stringify({ subject: 'a'.repeat(32), participations: 3, open: ['x', 'y'] }));
  const { config, records } = await connect();
  assert.deepEqual([config.participations, config.subject], [5, 'a'.repeat(32)]);
  records(6);
  assert.deepEqual(kept(), { subject: 'a'.repeat(32), participations: 6 });
});

for (const [name, text] of Object.entries({
  'no JSON': '{',
  'a negative count': JSON.stringify({ subject: 'a'.repeat(32), participations: -1 }),
  'a fractional count': JSON.stringify({ subject: 'a'.repeat(32), participations: 1.5 }),
  'another name': JSON.stringify({ subject: 'me', participations: 1 }),
  'no list of open rounds': JSON.stringify({ subject: 'a'.repeat(32), participations: 1, open: 1 }),
  null: 'null',
})) {
  test(`an entry with ${name} counts as none`, async () => {
    storage.entries.set(KEY, text);
    const { config, records } = await connect();
    assert.equal(config.participations, 0);
    assert.match(config.subject, /^[0-9a-f]{32}$/);
    records(1);
    assert.deepEqual([kept().participations, kept().subject], [1, config.subject]);
  });
}

test('storage that is cleared under way does not stop the count', async () => {
  const { records, config } = await connect();
  records(2);
  storage.entries.clear();
  records(3);
  assert.deepEqual(kept(), { subject: config.subject, participations: 3 });
});

test('when the module crashes, its successor knows the consent and the rounds', async () => {
  const { worker, says, records, config } = await connect({ floors: { minCohort: 2 }, consent: () => true });
  says(terms);
  await settled();
  records(1);
  // It is not known if the update of this one left.
  records(2);
  worker.onerror({ message: 'unreachable' });
  assert.notEqual(FakeWorker.last, worker);
  assert.deepEqual(FakeWorker.last.sent[0].config.privacy, {
    floors: { minCohort: 2 },
    consent: 'granted',
    participations: 2,
    subject: config.subject,
  });
  assert.equal(kept().participations, 2);
});

test('an answer that is still awaited reaches the module that took over', async () => {
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
