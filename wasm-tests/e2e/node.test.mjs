// The client of Node.js with the real WebAssembly beside a real aggregator: it trains rounds and
// predicts, its count of private rounds is there after a restart, and Ctrl-C ends it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { needed, ROOT } from './harness/paths.mjs';
import { Aggregator, newFolder, removeFolder } from './harness/programs.mjs';

const ENTRY = pathToFileURL(needed(`${ROOT}web/package/dist/node.js`)).href;
const { FedraClient } = await import(ENTRY);

const PEOPLE = 'age,income\n30,low\n50,high\n41,low\n62,high\n23,low\n55,high\n';
const PRIVACY = `[task.privacy]
policy = "local"
noise_multiplier = 1.0
clipping_norm = 0.5
epsilon = 500.0
delta = 1e-5
max_participations = 50
`;

const task = (folder, privacy) => ({
  id: 'people',
  model: '{ input = [1], layers = [{ type = "linear", outputs = 2 }], loss = "softmax_cross_entropy" }',
  learningRate: 0.5,
  minimumCohort: 1,
  cohort: 1,
  privacy,
  data: `[task.data]
kind = "table"
target = "income"
columns = [
  { name = "age", type = "number", mean = 40, deviation = 10 },
  { name = "income", type = "category", values = ["low", "high"] },
]
`,
  evaluation: `[task.evaluation]\ndata = ${JSON.stringify(join(folder, 'people.csv'))}\n`,
});

/** An aggregator with a task of people, whose file lies beside it. */
async function startAggregator(folder, privacy) {
  writeFileSync(join(folder, 'people.csv'), PEOPLE);
  return await Aggregator.start(folder, task(folder, privacy));
}

describe('a client of Node.js', { concurrency: false }, () => {
  const folder = newFolder();
  let aggregator;
  let place;
  before(async () => {
    aggregator = await startAggregator(folder);
    place = { url: aggregator.http, task: 'people' };
  });
  after(async () => {
    await aggregator?.end();
    removeFolder(folder);
  });

  test('trains rounds on a file, is told what they brought, predicts, and closes', async () => {
    const client = await FedraClient.connect({ ...place, pin: true });
    const rounds = client.rounds();
    await client.train({ files: join(folder, 'people.csv') });
    const told = [];
    for await (const round of rounds) if (told.push(round) === 3) break;
    assert.ok(
      told.some(({ update }) => update === 'accepted'),
      JSON.stringify(told),
    );
    assert.ok(told.every(({ accuracy, missed }) => accuracy > 0.4 && missed === 0));
    assert.equal(client.latest('backend').backend, 'cpu');
    const { features } = await client.read({ files: join(folder, 'people.csv') });
    const probabilities = await client.predict(features);
    assert.equal(probabilities.length, 12);
    await client.close();
  });

  test('loads the model without a session', async () => {
    const model = await FedraClient.load(place);
    assert.ok(model.round >= 3);
    const [low, high] = await model.predict(Float32Array.of(-1));
    assert.ok(low > high && Math.abs(low + high - 1) < 1e-5);
    model.close();
  });
});

describe('a client of Node.js in a private task', { concurrency: false }, () => {
  const folder = newFolder();
  let aggregator;
  before(async () => {
    aggregator = await startAggregator(folder, PRIVACY);
  });
  after(async () => {
    await aggregator?.end();
    removeFolder(folder);
  });

  /** A process that trains until it is told `SIGINT` after its first own update. Its events, and how it ended. */
  function program(storage, closes) {
    const options = { url: aggregator.http, task: 'people', ...(storage ? { storage } : {}) };
    const script = `
      import { FedraClient } from ${JSON.stringify(ENTRY)};
      const client = await FedraClient.connect(${JSON.stringify(options)});
      ${closes ? "process.once('SIGINT', () => client.close());" : ''}
      for (const type of ['privacy', 'update', 'error']) {
        client.addEventListener(type, ({ detail }) => process.stdout.write(JSON.stringify(detail) + '\\n'));
      }
      await client.train({ files: ${JSON.stringify(join(folder, 'people.csv'))} });
    `;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (text) => {
      output += text;
      // Once: the second Ctrl-C of a program that closes would end it at once.
      if (!child.killed && /"(accepted|participation-not-kept)"/.test(output)) child.kill('SIGINT');
    });
    const events = () =>
      output
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
    return new Promise((resolve) => child.on('close', (code, signal) => resolve({ events: events(), end: signal ?? code })));
  }
  const countOf = (storage) => {
    const name = readdirSync(storage).find((entry) => entry.startsWith('participation-'));
    return JSON.parse(readFileSync(join(storage, name), 'utf8'));
  };

  test('counts its rounds in its folder, goes on from there after Ctrl-C, and ends cleanly where it is closed by it', async () => {
    const storage = mkdtempSync(join(folder, 'state-'));
    let before = 0;
    let subject;
    for (const [closes, end] of [
      [false, 'SIGINT'],
      [true, 0],
    ]) {
      const ran = await program(storage, closes);
      assert.equal(ran.end, end);
      const first = ran.events.find(({ type }) => type === 'privacy');
      assert.equal(first.participations, before);
      const kept = countOf(storage);
      assert.ok(kept.participations > before);
      assert.equal(kept.subject, subject ?? kept.subject);
      before = kept.participations;
      subject = kept.subject;
    }
  });

  test('takes no part without a folder', async () => {
    const { events } = await program(undefined, true);
    assert.ok(!events.some(({ type }) => type === 'update'));
    assert.match(events.find(({ code }) => code === 'participation-not-kept').message, /option storage/);
  });
});
