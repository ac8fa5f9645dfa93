// Native clients that reach the aggregator over TLS: its own, and that of a real
// nginx that has it under a path.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { certify } from './harness/https.mjs';
import { Nginx } from './harness/nginx.mjs';
import { Aggregator, newFolder, removeFolder, startNativeClients } from './harness/programs.mjs';
import { until } from './harness/until.mjs';

const CLIENTS = 2;
const ROUNDS = 3;
const TASK = { id: 'digits', model: 'softmax-regression', learningRate: 0.1, minimumCohort: CLIENTS };

/** Trains for some rounds over `url`; the clients must end well after them. */
async function train(aggregator, url, certificate) {
  const { round } = await aggregator.state();
  const more = ['--ca', certificate, '--rounds', String(ROUNDS)];
  const clients = startNativeClients(aggregator, { clients: CLIENTS, examples: 100, url, more });
  const ended = await clients.ended;
  assert.equal(ended, 0, clients.lastLines());
  const task = await aggregator.reaches(`${ROUNDS} rounds`, (state) => state.round >= round + ROUNDS);
  const reports = task.history.filter((entry) => entry.round > round).map((entry) => entry.reports);
  assert.deepEqual(reports, Array(ROUNDS).fill(CLIENTS), 'everyone in each round');
  return clients.output();
}

describe('an aggregator with TLS of its own', { concurrency: false }, () => {
  const folder = newFolder();
  const tls = certify(folder, 'aggregator');
  let aggregator;

  before(async () => {
    aggregator = await Aggregator.start(folder, TASK, tls);
  });

  after(async () => {
    assert.equal((await aggregator?.end()) ?? 0, 0, 'the aggregator ends well when asked to');
    removeFolder(folder);
  });

  test('a client that does not trust it says what to do', async () => {
    const { certificate } = certify(folder, 'other');
    const clients = startNativeClients(aggregator, { clients: 1, examples: 100, more: ['--ca', certificate] });
    await until('it says so', () => /an authority that is not trusted here.* --ca/.test(clients.output()));
    await clients.end();
    assert.deepEqual((await aggregator.state()).history, []);
  });

  test('a whole task trains', async () => {
    const output = await train(aggregator, `https://localhost:${aggregator.port}`, tls.certificate);
    assert.ok(output.includes(`wss://localhost:${aggregator.port}/v1/connect`), 'it says what it made of the address');
  });
});

describe('nginx with TLS before an aggregator without', { concurrency: false }, () => {
  const folder = newFolder();
  let aggregator;

  before(async () => {
    aggregator = await Aggregator.start(folder, TASK);
  });

  after(async () => {
    assert.equal((await aggregator?.end()) ?? 0, 0, 'the aggregator ends well when asked to');
    removeFolder(folder);
  });

  for (const prefix of ['/fed/', '/']) {
    test(`a whole task trains under ${prefix}`, async () => {
      const nginx = await Nginx.start(folder, { upstream: aggregator.port, prefix });
      try {
        const output = await train(aggregator, nginx.url, nginx.certificate);
        const socket = `wss://localhost:${nginx.port}${prefix}v1/connect`;
        assert.ok(output.includes(socket), 'it says what it made of the address');
      } finally {
        assert.equal(await nginx.end(), 0, 'nginx ends well when asked to');
      }
    });
  }
});
