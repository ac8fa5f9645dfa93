import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient, FedraError } from '../dist/index.js';
import { FakeWorker } from './fake-worker.mjs';

let restore;
beforeEach(() => (restore = FakeWorker.install()));
afterEach(() => restore());

const good = { url: 'ws://127.0.0.1:8080/v1/connect', task: 'mnist' };
const code = (expected) => (error) => {
  assert.ok(error instanceof FedraError, String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

for (const [name, options] of Object.entries({
  'no options': undefined,
  'no url': { task: 'mnist' },
  'a url that is none': { ...good, url: 'not a url' },
  'a url of another kind': { ...good, url: 'ftp://example.org/' },
  'a url with a password': { ...good, url: 'wss://user:secret@example.org/v1/connect' },
  'an option with a typing error': { ...good, backends: 'cpu' },
  'a signal that is none': { ...good, signal: { aborted: false } },
  'a worker that is neither an address nor a function': { ...good, worker: 7 },
  'a worker at an address that is none': { ...good, worker: 'https://[' },
  'a worker function that makes none': { ...good, worker: () => ({}) },
  'no task': { url: good.url },
  'an empty task': { ...good, task: '' },
  'an unknown backend': { ...good, backend: 'cuda' },
  'privacy that is no object': { ...good, privacy: 'distributed' },
  'an unknown privacy option': { ...good, privacy: { floor: {} } },
  'consent that is neither granted nor a function': { ...good, privacy: { consent: true } },
  'a promise to examples without noise': { ...good, privacy: { examples: { clippingNorm: 1, delta: 1e-5 } } },
  'a promise to examples with a typing error': {
    ...good,
    privacy: { examples: { clippingNorm: 1, noiseMultiplier: 1, delta: 1e-5, noise: 1 } },
  },
  'a promise to examples with a delta of 1': { ...good, privacy: { examples: { clippingNorm: 1, noiseMultiplier: 1, delta: 1 } } },
  'floors that are no object': { ...good, privacy: { floors: 1 } },
  'a floor with a typing error': { ...good, privacy: { floors: { minNoiseMultiplyer: 1 } } },
  'no noise as the least noise': { ...good, privacy: { floors: { minNoiseMultiplier: 0 } } },
  'noise that is no number': { ...good, privacy: { floors: { minNoiseMultiplier: Number.NaN } } },
  'a cohort of nobody': { ...good, privacy: { floors: { minCohort: 0 } } },
  'a fractional cohort': { ...good, privacy: { floors: { minCohort: 2.5 } } },
  'participations as a text': { ...good, privacy: { floors: { maxParticipations: '3' } } },
  'an endless budget': { ...good, privacy: { floors: { maxEpsilon: Infinity } } },
  'a token that is no text': { ...good, token: 7 },
  'an empty token': { ...good, token: '' },
  'a token with a space': { ...good, token: 'a b' },
  'a token that is too long': { ...good, token: 'x'.repeat(4097) },
  'secure aggregation as a number': { ...good, privacy: { floors: { requireSecureAggregation: 1 } } },
})) {
  test(`connect refuses ${name} before a worker starts`, async () => {
    await assert.rejects(FedraClient.connect(options), code('invalid-options'));
    assert.equal(FakeWorker.all.length, 0);
  });
}

test('connect accepts http addresses as WebSocket addresses and defaults to auto', async () => {
  await FedraClient.connect({ ...good, url: new URL('https://example.org/v1/connect#part') });
  const { privacy, ...config } = FakeWorker.last.sent[0].config;
  assert.deepEqual(config, { url: 'wss://example.org/v1/connect', task: 'mnist', backend: 'auto', token: 'none' });
  assert.equal(privacy.consent, 'granted');
});

test('a mistake in a floor names the floor and says what it must be', async () => {
  const privacy = { floors: { minCohort: 0.5 } };
  await assert.rejects(FedraClient.connect({ ...good, privacy }), /privacy\.floors\.minCohort must be a whole number/);
});

const features = new Float32Array(2 * 3);
for (const [name, options] of Object.entries({
  'an option with a typing error': { timeOut: 1000 },
  'an unknown layout': { layout: 'NHWC' },
  'a transfer that is no boolean': { transfer: 1 },
  'a timeout of nothing': { timeout: 0 },
  'a timeout that is no number': { timeout: '5s' },
  'a signal that is none': { signal: {} },
})) {
  test(`train refuses ${name} before anything is posted`, async () => {
    const client = await FedraClient.connect(good);
    await assert.rejects(client.train({ features, labels: [0, 1], shape: [2, 3] }, options), code('invalid-options'));
    assert.equal(FakeWorker.last.sent.length, 1);
  });
}

for (const [name, data] of Object.entries({
  'an option among the data': { features, labels: [0, 1], shape: [2, 3], layout: 'channels-last' },
  'no data': undefined,
  'features of another type': { features: [0, 0, 0, 0, 0, 0], labels: [0, 1], shape: [2, 3] },
  'too few values': { features: new Float32Array(5), labels: [0, 1], shape: [2, 3] },
  'a shape without examples': { features: new Float32Array(0), labels: [], shape: [0, 3] },
  'a shape of one dimension': { features, labels: [0, 1], shape: [6] },
  'a fractional shape': { features, labels: [0, 1], shape: [1.5, 4] },
  'no shape': { features, labels: [0, 1] },
  'too few labels': { features, labels: [0], shape: [2, 3] },
  'labels that are no numbers': { features, labels: ['a', 'b'], shape: [2, 3] },
  'labels of 64-bit integers': { features, labels: new BigInt64Array(2), shape: [2, 3] },
})) {
  test(`train refuses ${name} before anything is posted`, async () => {
    const client = await FedraClient.connect(good);
    await assert.rejects(client.train(data), code('bad-dataset'));
    assert.equal(FakeWorker.last.sent.length, 1);
  });
}

test('predict refuses what is no Float32Array', async () => {
  const client = await FedraClient.connect(good);
  await assert.rejects(client.predict([0, 1]), code('bad-input'));
  await assert.rejects(client.predict(new Float32Array()), code('bad-input'));
  assert.equal(FakeWorker.last.sent.length, 1);
});
