// The package as a user of npm gets it: packed, installed elsewhere, imported.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const packageFolder = fileURLToPath(new URL('..', import.meta.url));
const compiler = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));
const bin = (name) => fileURLToPath(new URL(`../../node_modules/.bin/${name}`, import.meta.url));
const hasWasm = existsSync(join(packageFolder, 'wasm/manifest.json'));
const noWasm = !hasWasm && 'not built: cargo xtask dist';
/** The most bytes that an installation may have to fetch. */
const MOST_BYTES = 5_000_000;
const run = (command, args, cwd) => execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

let folder;
let files;
let tarball;
let size;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'fedra-pack-'));
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], packageFolder));
  files = packed.files.map(({ path }) => path);
  tarball = join(folder, packed.filename);
  size = packed.size;
  const consumer = join(folder, 'consumer');
  mkdirSync(consumer);
  writeFileSync(join(consumer, 'package.json'), '{"private": true, "type": "module"}');
  run('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', tarball], consumer);
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('the tarball holds the code, its types, a readme and licences, and nothing else', () => {
  const code = files.filter((path) => path.startsWith('dist/'));
  assert.deepEqual(
    code.filter((path) => !/\.(d\.ts|js)$/.test(path)),
    [],
    'code and types only',
  );
  for (const path of code.filter((path) => path.endsWith('.js'))) {
    assert.ok(code.includes(path.replace(/\.js$/, '.d.ts')), `${path} has types`);
  }
  for (const name of ['package.json', 'README.md', 'LICENSE-MIT', 'LICENSE-APACHE']) assert.ok(files.includes(name), name);
  const others = files.filter((path) => !/^(dist\/|wasm\/|package\.json$|README\.md$|LICENSE)/.test(path));
  assert.deepEqual(others, []);
});

test('the tarball holds the WebAssembly modules and their manifest, and no other', { skip: noWasm }, () => {
  const modules = files.filter((path) => path.startsWith('wasm/')).sort();
  const parts = (name) => [`wasm/${name}.d.ts`, `wasm/${name}.js`, `wasm/${name}_bg.wasm`];
  const described = ['wasm/manifest.d.ts', 'wasm/manifest.js', 'wasm/manifest.json'];
  assert.deepEqual(modules, [...parts('fedra-reader'), ...parts('fedra'), ...described]);
  run(process.execPath, ['scripts/check-wasm.mjs'], packageFolder);
});

test(`the tarball has at most ${MOST_BYTES} bytes`, { skip: noWasm }, () => {
  assert.ok(size <= MOST_BYTES, `${size} bytes`);
});

test('publint has nothing to say of the tarball', { skip: noWasm }, async () => {
  const { publint } = await import('publint');
  const bytes = readFileSync(tarball);
  const { messages } = await publint({ pack: { tarball: new Uint8Array(bytes).buffer }, level: 'suggestion', strict: true });
  assert.deepEqual(messages, []);
});

// The package has ES modules only: with Node's `require` from TypeScript's older resolutions there
// is nothing to resolve, and the profile leaves them out.
test('each entry point has the types that it should have', { skip: noWasm }, () => {
  run(bin('attw'), [tarball, '--profile', 'esm-only', '--no-definitely-typed', '--no-emoji', '--no-color'], folder);
});

test('every entry point and every module that one imports is in the tarball', () => {
  const manifest = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
  const targets = (entry) => (typeof entry === 'string' ? [entry] : Object.values(entry).flatMap(targets));
  // What lies in wasm/ is built by another command.
  const built = ({ path }) => !path.startsWith('./wasm/') && (hasWasm || path !== './dist/inline.js');
  const waiting = targets(manifest.exports)
    .filter((path) => built({ path }))
    .map((path) => path.replace('./', ''));
  const seen = new Set();
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    assert.ok(files.includes(path), path);
    if (!/\.(js|d\.ts)$/.test(path)) continue;
    const text = readFileSync(join(folder, 'consumer/node_modules/fedra', path), 'utf8');
    for (const [, , target] of text.matchAll(/(from |import |import\(|new URL\()["'](\.{1,2}\/[^"']+\.[a-z]+)["']/g)) {
      const file = posix.join(posix.dirname(path), target);
      // The module is built by another command, and types stand beside the code.
      if (!file.startsWith('wasm/')) waiting.push(path.endsWith('.d.ts') ? file.replace(/\.js$/, '.d.ts') : file);
    }
  }
  assert.ok(seen.has('dist/index.js') && seen.has('dist/worker.js'), [...seen].join());
  // A module of types alone is imported by declarations only.
  const name = (path) => path.replace(/\.(d\.ts|js)$/, '');
  const reached = new Set([...seen].map(name));
  const unreachable = files.filter((path) => path.startsWith('dist/') && !reached.has(name(path)));
  assert.deepEqual(unreachable, [], 'code that nothing imports');
});

for (const [entry, skip] of [
  ['fedra', false],
  ['fedra/inline', noWasm],
  ['fedra/node', false],
]) {
  test(`${entry} of the installed package can be imported`, { skip }, () => {
    const script = `const { FedraClient, FedraError } = await import('${entry}'); console.log(typeof FedraClient.connect, FedraError.name);`;
    const output = run(process.execPath, ['--input-type=module', '-e', script], join(folder, 'consumer'));
    assert.equal(output.trim(), 'function FedraError');
  });
}

for (const [module, moduleResolution] of [
  ['esnext', 'bundler'],
  ['nodenext', 'nodenext'],
]) {
  test(`its types serve a strict consumer with ${moduleResolution} resolution`, () => {
    const consumer = join(folder, 'consumer');
    writeFileSync(
      join(consumer, 'use.ts'),
      `import { FedraClient, FedraError, type Model, type ModelEvent, type PrivacyFloors } from 'fedra';
      import { FedraClient as InNode, type PrivacyEvent } from 'fedra/node';
      import { load } from 'fedra/predict';
      import { FedraTrainer } from 'fedra/element';
      const client = await FedraClient.connect({ url: 'wss://example.org/v1/connect', task: 'digits', backend: 'auto' });
      client.addEventListener('model', ({ detail }) => { const model: ModelEvent = detail; console.log(model.accuracy?.toFixed(3)); });
      const floors: PrivacyFloors = { minCohort: 50, requireSecureAggregation: true };
      const careful = await FedraClient.connect({
        url: '', task: '',
        privacy: { floors, consent: async (terms) => terms.policy !== 'central' && (terms.budgetEpsilon ?? Infinity) < 4 },
      });
      careful.addEventListener('privacy', ({ detail }) => console.log(detail.spentEpsilon.toFixed(2), detail.nextEpsilon?.toFixed(2)));
      const consent = { text: 'We learn from your digits.', version: '1', ask: () => true };
      await FedraClient.connect({ url: '', task: '', tabs: 'one', pauses: { hidden: true, battery: 0.3 }, privacy: { consent } });
      client.addEventListener('tab', ({ detail }) => console.log(detail.leads));
      const { rounds, earlier } = await FedraClient.sent({ url: '', task: '' });
      console.log(rounds[0]?.at.getTime(), earlier.bytes, (await FedraClient.consent({ url: '', task: '' }))?.terms.policy);
      const trainer: FedraTrainer | null = document.querySelector('fedra-trainer');
      trainer?.addEventListener('client', () => trainer.client?.pause());
      // @ts-expect-error there is no such rule
      await FedraClient.connect({ url: '', task: '', pauses: { visible: true } });
      await FedraClient.connect({ url: '', task: '', token: 'e30.e30.c2ln' });
      await FedraClient.connect({ url: '', task: '', token: async () => (await fetch('/token')).text() });
      // @ts-expect-error a token is a text
      await FedraClient.connect({ url: '', task: '', token: () => 7 });
      // @ts-expect-error there is no such floor
      await FedraClient.connect({ url: '', task: '', privacy: { floors: { minimumCohort: 50 } } });
      // @ts-expect-error an answer is a boolean
      await FedraClient.connect({ url: '', task: '', privacy: { consent: () => 'yes' } });
      await client.train({ features: new Float32Array(784), labels: [7], shape: [1, 784] });
      await client.train(
        { features: new Float32Array(3072), labels: [7], shape: [1, 32, 32, 3] },
        { layout: 'channels-last', timeout: 5000, signal: AbortSignal.timeout(9000), transfer: true },
      );
      // @ts-expect-error there is no such layout
      await client.train({ features: new Float32Array(784), labels: [7], shape: [1, 784] }, { layout: 'NHWC' });
      await FedraClient.connect({ url: '', task: '', worker: () => new Worker('/fedra-worker.js', { type: 'module' }) });
      const model: Model = await FedraClient.load({ url: new URL('https://example.org'), task: 'digits', worker: '/fedra-worker.js' });
      const outputs: Float32Array = await model.predict(new Float32Array(784));
      console.log(outputs.length === model.outputs, model.inputShape.join(), model.round.toFixed(), model.sha256.length);
      model.close();
      const probabilities: Float32Array = await client.predict(new Float32Array(784));
      console.log(probabilities.length, new FedraError('closed', 'x').code);
      // @ts-expect-error there is no such backend
      await FedraClient.connect({ url: '', task: '', backend: 'cuda' });
      await client.close();
      for await (const { round, accuracy, update, spentEpsilon } of careful.rounds({ signal: AbortSignal.timeout(9000) })) {
        console.log(round.toFixed(), accuracy?.toFixed(3), update === 'accepted', spentEpsilon?.toFixed(2));
      }
      await FedraClient.connect({ url: '', task: '', wasm: { client: new Uint8Array(8) }, pin: true });
      // @ts-expect-error the client's hash is needed
      await FedraClient.connect({ url: '', task: '', pin: { 'fedra-reader_bg.wasm': '' } });
      const there = await InNode.connect({ url: '', task: '', storage: './fedra-state', backend: 'cpu' });
      // @ts-expect-error a thread takes the worker's place
      await InNode.connect({ url: '', task: '', worker: '/fedra-worker.js' });
      const here: Model = await load({ url: '', task: '', pin: true });
      console.log(here.round);
      const event: PrivacyEvent | undefined = there.latest('privacy');
      console.log(event?.spentEpsilon, (await InNode.kept({ url: '', task: '', storage: '.' }))?.bytes);
      `,
    );
    const flags = [
      '--noEmit',
      '--strict',
      '--target',
      'es2022',
      '--lib',
      'es2022,dom',
      '--types',
      '',
      '--module',
      module,
      '--moduleResolution',
      moduleResolution,
    ];
    run(process.execPath, [compiler, ...flags, 'use.ts'], consumer);
  });
}
