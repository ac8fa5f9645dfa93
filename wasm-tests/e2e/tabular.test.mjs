// The guide to tables, docs/guides/tabular.md: its blocks run in their order, in one folder.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Sites } from '../../web/demo/test/harness/sites.mjs';
import { get } from './harness/https.mjs';
import { chromium, needed, onnxRuntime, program, ROOT, SWITCHES } from './harness/paths.mjs';
import { freePort, newFolder, Program, removeFolder } from './harness/programs.mjs';
import { until } from './harness/until.mjs';

/** Largest loss of accuracy of ten files against one. */
const GAP = 0.01;
/** Least gain over the most frequent class. */
const GAIN = 0.04;
/** Longest time for all rounds of a task, in milliseconds. */
const LIMIT = { timeout: 180_000 };
const PYTHON = process.env.PYTHON ?? 'python3';

const GUIDE = readFileSync(join(ROOT, 'docs/guides/tabular.md'), 'utf8');
/** The blocks of code below each heading: `{ language, text }`. */
const sections = new Map(
  GUIDE.split(/^## /m).map((section) => {
    const blocks = [...section.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)];
    return [section.split('\n', 1)[0], blocks.map(([, language, text]) => ({ language, text }))];
  }),
);

const folder = newFolder();
const at = (name) => join(folder, name);
const text = (name) => readFileSync(at(name), 'utf8');
const first = '127.0.0.1:8080';
const second = '127.0.0.1:8081';
const third = '127.0.0.1:8082';
/** Addresses in the guide, and those that are free here. */
const addresses = new Map();
/** Programs that still run, and process groups of scripts. */
const servers = [];
const groups = new Set();
const done = new Set();
const endGroups = () => groups.forEach((leader) => process.kill(-leader, 'SIGKILL'));
process.on('exit', endGroups);

/**
 * A Python with what the guide asks for: the system's, or one in the build folder, which is made
 * once. Undefined where there is neither.
 */
function pythonWithOnnx() {
  const runs = (command, ...rest) => spawnSync(command, rest, { stdio: 'ignore' }).status === 0;
  const has = (python) => runs(python, '-c', 'import numpy, onnxruntime, tomllib');
  if (has(PYTHON)) return PYTHON;
  const made = join(ROOT, 'target/python');
  const own = join(made, 'bin/python');
  if (has(own)) return own;
  const wheels = ['--only-binary=:all:', 'numpy==2.3.5', 'onnxruntime==1.23.2'];
  const installed = runs(PYTHON, '-m', 'venv', made) && runs(own, '-m', 'pip', 'install', '--quiet', ...wheels);
  return installed && has(own) ? own : undefined;
}

/** The blocks of a section, each of the language that is expected. */
function blocks(heading, ...languages) {
  const found = sections.get(heading) ?? [];
  assert.deepEqual(
    found.map(({ language }) => language),
    languages,
    heading,
  );
  return found.map((block) => {
    done.add(block);
    return [...addresses].reduce((written, [from, to]) => written.replaceAll(from, to), block.text);
  });
}

/** The environment of the guide's shell. */
const environment = () => ({
  ...process.env,
  FEDRA: ROOT,
  FEDRA_SERVER_URL: `http://${addresses.get(first)}`,
  PATH: [dirname(program('fedra-edge')), process.env.PATH].join(delimiter),
});

/** Runs a script in the folder to its end; returns what it printed. */
async function shell(script) {
  const options = { cwd: folder, env: environment(), detached: true, stdio: ['ignore', 'pipe', 'pipe'] };
  const child = spawn('bash', ['-euc', script], options);
  groups.add(child.pid);
  let [output, errors] = ['', ''];
  child.stdout.on('data', (piece) => (output += piece));
  child.stderr.on('data', (piece) => (errors += piece));
  const code = await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject));
  groups.delete(child.pid);
  assert.equal(code, 0, `${script}\n${output}\n${errors.slice(-4000)}`);
  return output;
}

/** Starts the server of a block, a command of one line, that will listen at `address`. */
async function serve(command, address) {
  const script = `cd "$0" && PATH="$1" exec ${command}`;
  const server = new Program('bash', ['-c', script, folder, environment().PATH], at(`server-${servers.length}.log`));
  servers.push(server);
  await until('the server is ready', async () => {
    assert.ok(server.isRunning, server.lastLines());
    return await get(`http://${address}/readyz`).then(
      ({ status }) => status === 200,
      () => false,
    );
  });
}

/** The task once its last model is evaluated. */
async function finished(address) {
  return await until('the last model is evaluated', async () => {
    const { body } = await get(`http://${address}/v1/tasks/birdstrikes`);
    const task = JSON.parse(body);
    return task.latest?.round === task.rounds_total && task;
  });
}

/** Checks an accuracy that the guide tells; processors round differently. */
function isTold(accuracy, sentence) {
  const [, told] = GUIDE.match(sentence);
  assert.ok(Math.abs(accuracy - told) <= GAP, `the guide says ${told}, measured is ${accuracy}`);
}

/** A CSV file without quotes, as objects. */
function rows(name) {
  const [header, ...lines] = text(name).trimEnd().split(/\r?\n/);
  const names = header.split(',');
  return lines.map((line) => Object.fromEntries(line.split(',').map((value, index) => [names[index], value])));
}

/** Features of the first examples, as `check` prints them. */
async function sample(name) {
  const printed = await shell(`fedra-aggregator check --config fedra.toml --sample ${name}`);
  const lines = printed.split('\n');
  const table = lines.slice(lines.findIndex((line) => line.startsWith('FEATURE')) + 1).filter(Boolean);
  const features = table.filter((line) => !line.startsWith('target: ')).map((line) => line.split(/ {2,}/));
  const last = table.at(-1).split(/ {2,}/);
  return [1, 2, 3].map((column) => ({ features: features.map((cells) => Number(cells[column])), target: last[column] }));
}

/** The task of ten clients, once it is finished. */
let together;

describe('the guide to tables', { concurrency: false }, () => {
  before(async () => {
    needed(join(ROOT, 'web/node_modules/vega-datasets/data/birdstrikes.csv'));
    for (const address of [first, second, third]) addresses.set(address, `127.0.0.1:${await freePort()}`);
  });

  after(async () => {
    endGroups();
    for (const server of servers) assert.equal(await server.end(), 0, server.lastLines());
    removeFolder(folder);
  });

  test('each row is in one file: every fifth in the public one', async () => {
    const [split] = blocks('The files', 'sh');
    await shell(split);
    const all = rows('birdstrikes.csv').map((row) => JSON.stringify(row));
    const shares = Array.from({ length: 10 }, (_, index) => rows(`operator-${index + 1}.csv`));
    for (const share of shares.slice(0, 9)) {
      assert.equal(new Set(share.map((row) => row['Aircraft Airline Operator'])).size, 1);
    }
    const held = rows('test.csv').map((row) => JSON.stringify(row));
    const fifth = all.filter((_, index) => index % 5 === 4);
    assert.ok(isDeepStrictEqual(held, fifth), 'every fifth row is held out');
    const found = [...shares.flat().map((row) => JSON.stringify(row)), ...held];
    assert.ok(isDeepStrictEqual(found.sort(), all.sort()), 'each row is in one file');
    const sizes = shares.map(({ length }) => length);
    const [, largest, smallest] = GUIDE.match(/largest has ([\d,]+) rows, the smallest ([\d,]+)/);
    assert.deepEqual([largest, smallest], [Math.max(...sizes).toLocaleString('en'), Math.min(...sizes).toLocaleString('en')]);
  });

  test('the constants are those of the public file, and `check` prints what the guide shows', async () => {
    const [task, check, shown] = blocks('The task', 'toml', 'sh', 'text');
    writeFileSync(at('fedra.toml'), task);
    const speeds = rows('test.csv').map((row) => row['Speed IAS in knots']);
    const known = speeds.filter(Boolean).map(Number);
    known.sort((a, b) => a - b);
    const mean = known.reduce((sum, speed) => sum + speed, 0) / known.length;
    const deviation = Math.sqrt(known.reduce((sum, speed) => sum + (speed - mean) ** 2, 0) / known.length);
    const median = known[Math.floor(known.length / 2)];
    assert.match(task, new RegExp(`mean = ${Math.round(mean)}, deviation = ${Math.round(deviation)}, fill = ${median},`));
    const printed = (await shell(check)).split('\n');
    for (const line of shown.trimEnd().split('\n')) assert.ok(printed.includes(line), `${line}\n\n${printed.join('\n')}`);
  });

  test('ten operators train a model that is better than the most frequent class', LIMIT, async (context) => {
    const [server, clients] = blocks('Train', 'sh', 'sh');
    await serve(server, addresses.get(first));
    const printed = await shell(clients);
    assert.match(printed, /120 of 120 rounds completed/);
    together = await finished(addresses.get(first));
    const { accuracy } = together.latest;
    const phases = rows('test.csv').map((row) => row['Phase of flight']);
    const majority = phases.filter((phase) => phase === 'Approach').length / phases.length;
    context.diagnostic(`accuracy ${accuracy}, of the most frequent class ${majority}`);
    assert.ok(GUIDE.includes(`\`Approach\` has ${majority}.`));
    assert.ok(accuracy >= majority + GAIN, `${accuracy}`);
    isTold(accuracy, /reach an accuracy of (0\.\d+)/);
    assert.ok(together.history.every(({ reports }) => reports === 10));
  });

  test('one client with all rows is better by less than a point', LIMIT, async (context) => {
    const [files, server, client] = blocks('Compare', 'sh', 'sh', 'sh');
    await shell(files);
    assert.equal(rows('all.csv').length, 8000);
    await serve(server, addresses.get(second));
    await shell(client);
    const central = await finished(addresses.get(second));
    assert.deepEqual([central.round, central.model.parameters], [together.round, together.model.parameters]);
    assert.ok(central.history.every(({ reports }) => reports === 1));
    const gap = central.latest.accuracy - together.latest.accuracy;
    context.diagnostic(`accuracy ${central.latest.accuracy}, gap ${gap.toFixed(4)}`);
    assert.ok(gap <= GAP, `${gap}`);
    isTold(central.latest.accuracy, /It reaches (0\.\d+)/);
  });

  test('vectors for the categories of a column take their place', LIMIT, async (context) => {
    const [change, server, client] = blocks('Vectors for categories', 'sh', 'sh', 'sh');
    const printed = await shell(change);
    assert.match(printed, /1007 parameters on table data \[18\]/);
    assert.match(printed, /^Flight Date \(year, cosine\).*\nOrigin State {2,}\d+\.0000/m);
    await serve(server, addresses.get(third));
    await shell(client);
    const { latest } = await finished(addresses.get(third));
    context.diagnostic(`accuracy ${latest.accuracy}`);
    isTold(latest.accuracy, /4 values it reaches (0\.\d+)/);
  });

  test('the exported model runs on rows as `check` prepares them', async () => {
    const [script] = blocks('Run the model elsewhere', 'sh', 'python');
    await shell(script);
    const ort = onnxRuntime();
    // The threads of the runtime are workers of a browser.
    ort.env.wasm.numThreads = 1;
    const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(at('birdstrikes.onnx'))));
    const examples = await sample('test.csv');
    const values = Float32Array.from(examples.flatMap(({ features }) => features));
    const input = new ort.Tensor('float32', values, [3, values.length / 3]);
    const { probabilities } = await session.run({ features: input });
    assert.deepEqual(probabilities.dims, [3, 7]);
    for (let row = 0; row < 3; row++) {
      const sum = probabilities.data.slice(row * 7, row * 7 + 7).reduce((total, value) => total + value, 0);
      assert.ok(Math.abs(sum - 1) < 1e-5, `${sum}`);
    }
    await session.release();
  });

  test('the Python program prepares rows as Fedra does', async (context) => {
    const [, python] = blocks('Run the model elsewhere', 'sh', 'python');
    writeFileSync(at('predict.py'), python);
    const interpreter = pythonWithOnnx();
    if (interpreter === undefined) {
      return context.skip(`${PYTHON} has no onnxruntime, and pip cannot install it: the block of the guide was not run`);
    }
    const printed = await shell(`${interpreter} predict.py`);
    const [, accuracy] = printed.match(/^accuracy (0\.\d{4})$/m) ?? [];
    const least = 1 / rows('test.csv').length;
    assert.ok(Math.abs(accuracy - together.latest.accuracy) < 1.5 * least, printed);
  });

  test('a visitor trains with a CSV file', LIMIT, async () => {
    // The task has had its last round: the page takes part in another of one client.
    const address = `127.0.0.1:${await freePort()}`;
    const other = text('central.toml').replace('central-data', 'page-data').replace(addresses.get(second), address);
    writeFileSync(at('page.toml'), other);
    await serve('fedra-aggregator serve --config page.toml', address);
    const [page] = blocks('In a browser', 'html').map((html) => html.replaceAll(addresses.get(first), address));
    const sites = await Sites.start();
    let browser;
    try {
      browser = await chromium.launch({ executablePath: process.env.CHROME ?? 'chromium', args: SWITCHES });
      const tab = await sites.open(browser, sites.own);
      await tab.setContent(page);
      await tab.setInputFiles('input:enabled', at('operator-9.csv'));
      const said = await tab.waitForFunction(() => document.querySelector('output').value);
      assert.match(await said.jsonValue(), /^round \d+: accepted$/);
    } finally {
      await browser?.close();
      await sites.end();
    }
  });

  test('every block of the guide is in a test', () => {
    const left = [...sections.values()].flat().filter((block) => !done.has(block));
    assert.deepEqual(left, []);
    assert.ok(existsSync(at('predict.py')));
  });
});
