// The client of Node.js in real threads and processes, with a made-up WebAssembly module. The
// end-to-end tests have the real one.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { WebSocketServer } from 'ws';

const EMPTY = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
const place = { url: 'ws://127.0.0.1:9', task: 'digits' };
const data = () => ({ features: Float32Array.of(1), labels: [0], shape: [1, 1] });

let home;
let fedra;
let storage;
before(async () => {
  home = mkdtempSync(join(tmpdir(), 'fedra-node-'));
  cpSync(new URL('../dist', import.meta.url), join(home, 'dist'), { recursive: true });
  mkdirSync(join(home, 'wasm'));
  writeFileSync(join(home, 'package.json'), '{"type": "module"}');
  symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), join(home, 'node_modules'));
  for (const name of ['fedra', 'fedra-reader']) {
    cpSync(new URL('fake-module.js', import.meta.url), join(home, `wasm/${name}.js`));
    writeFileSync(join(home, `wasm/${name}_bg.wasm`), EMPTY);
  }
  const sha256 = createHash('sha256').update(EMPTY).digest('hex');
  writeFileSync(join(home, 'wasm/manifest.js'), `export default { files: [{ name: 'fedra_bg.wasm', sha256: '${sha256}' }] };`);
  fedra = await import(pathToFileURL(join(home, 'dist/node.js')));
});
after(() => rmSync(home, { recursive: true }));
const clients = [];
beforeEach(() => (storage = mkdtempSync(join(home, 'state-'))));
afterEach(() => Promise.all(clients.splice(0).map((client) => client.close())));

async function connect(options = {}) {
  const client = await fedra.FedraClient.connect({ ...place, storage, ...options });
  clients.push(client);
  return client;
}
const sees = (client, type) => new Promise((resolve) => client.addEventListener(type, ({ detail }) => resolve(detail), { once: true }));
/** Trains, and gives the next event of a type. */
async function afterTraining(client, type) {
  const seen = sees(client, type);
  await client.train(data());
  return await seen;
}

test('a client trains in a thread, on the CPU, with a WebSocket', async () => {
  const client = await connect();
  assert.ok(client instanceof fedra.FedraClient);
  assert.equal((await afterTraining(client, 'update')).outcome, 'accepted');
  assert.deepEqual([...(await client.predict(Float32Array.of(3)))], [3]);
  const { backend, reason } = client.latest('backend');
  assert.deepEqual([backend, reason], ['cpu', 'function']);
});

test('a socket carries bytes, and one that finds no server is closed without harm to the thread', async () => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await new Promise((resolve) => server.once('listening', resolve));
  server.on('connection', (socket) => socket.on('message', (bytes) => socket.send(Buffer.concat([bytes, bytes]))));
  const client = await connect({ url: `ws://127.0.0.1:${server.address().port}` });
  const told = (type) => client.latest(type) ?? sees(client, type);
  assert.deepEqual(await told('traffic'), { type: 'traffic', bytesUp: 3, bytesDown: 6 });
  assert.equal((await told('status')).retryInMs, 4000);
  await new Promise((resolve) => server.close(resolve));

  const lonely = await connect();
  assert.equal((lonely.latest('status') ?? (await sees(lonely, 'status'))).state, 'reconnecting');
  assert.deepEqual([...(await lonely.predict(Float32Array.of(3)))], [3]);
});

test('a private round is counted in the folder before its update, and later clients go on from there', async () => {
  for (const earlier of [0, 1, 2]) {
    const client = await connect({ task: 'private' });
    assert.equal((await afterTraining(client, 'update')).round, earlier + 1);
    assert.equal(client.latest('privacy').participations, earlier);
    await client.close();
  }
  assert.ok(readdirSync(storage).some((name) => /^participation-[0-9a-f]{32}\.json$/.test(name)));
});

test('without a folder a private round is not taken part in, and the error names the option', async () => {
  const client = await connect({ task: 'private', storage: undefined });
  const { code, message } = await afterTraining(client, 'error');
  assert.equal(code, 'participation-not-kept');
  assert.match(message, /option storage/);
  for (const call of ['kept', 'forget', 'consent', 'revoke', 'sent'])
    await assert.rejects(fedra.FedraClient[call](place), { code: 'no-storage', message: /option storage/ });
});

test('what was not sent is kept, by one client at a time, and is free again once that one has ended', async () => {
  const first = await connect();
  assert.equal((await afterTraining(first, 'evaluation')).examples, 0);
  const beside = await connect();
  assert.equal((await afterTraining(beside, 'evaluation')).examples, 0);
  await first.close();
  await beside.close();
  const ends = () => !readdirSync(storage).some((name) => name.endsWith('.lock'));
  while (!ends()) await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await afterTraining(await connect(), 'evaluation')).examples, 1);
});

test('a lock of a process that is gone is taken over', async () => {
  const { ResidualEntry } = await import(pathToFileURL(join(home, 'dist/residual.js')));
  const { placesIn, ownerName } = await import(pathToFileURL(join(home, 'dist/node-stores.js')));
  const entry = (owner) => new ResidualEntry('ws://a', 'b', placesIn(storage, owner).residuals);
  const gone = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => gone.on('exit', resolve));
  for (const owner of [`${gone.pid} a b`, `${process.pid} of-another-process c`]) {
    const dead = entry(owner);
    await dead.load();
    await dead.keep(Uint8Array.of(7));
    assert.deepEqual(await entry(ownerName()).load(), Uint8Array.of(7), owner);
    for (const name of readdirSync(storage)) if (name.endsWith('.lock')) rmSync(join(storage, name));
  }
});

test('files are kept in the folder: the bytes of a Blob, and the address of a file', async () => {
  const client = await connect();
  const path = join(storage, 'people.csv');
  writeFileSync(path, 'a,b\n1,2\n');
  await client.train({ files: [new Blob(['c,d\n']), pathToFileURL(path)] });
  assert.deepEqual(await client.keep(), { bytes: 4, files: 2, since: (await fedra.FedraClient.kept({ ...place, storage })).since });
  await client.close();
  const next = await connect();
  await next.trainKept();
  const { features } = await next.read({ files: [new Blob(['c,d\n']), pathToFileURL(path).href] });
  assert.equal(features[0], 12);
  await fedra.FedraClient.forget({ ...place, storage });
  assert.equal(await fedra.FedraClient.kept({ ...place, storage }), null);
  await assert.rejects(next.train({ files: join(storage, 'nowhere.csv') }), {
    code: 'bad-dataset',
    message: /nowhere\.csv: cannot be fetched/,
  });
});

test('a consent is kept in the folder, is not asked for again, and its withdrawal ends the clients of that folder', async () => {
  let asked = 0;
  const form = { text: 'We learn from your digits.', version: '1' };
  const ask = () => (asked += 1) > 0;
  const agreed = async (options) => {
    const client = await connect({ privacy: { consent: { ...form, ask } }, ...options });
    while (client.latest('status')?.state !== 'training') await sees(client, 'status');
    return client;
  };
  const first = await agreed();
  const second = await agreed();
  assert.equal(asked, 1);
  const elsewhere = await agreed({ storage: mkdtempSync(join(home, 'state-')) });
  assert.equal(asked, 2);
  const { text, version, since } = await fedra.FedraClient.consent({ ...place, storage });
  assert.deepEqual([text, version, since instanceof Date], [form.text, form.version, true]);
  const ends = [first, second].map((client) => sees(client, 'error'));
  await fedra.FedraClient.revoke({ ...place, storage });
  for (const { code, fatal } of await Promise.all(ends)) assert.deepEqual([code, fatal], ['consent-revoked', true]);
  assert.equal(await fedra.FedraClient.consent({ ...place, storage }), null);
  assert.equal(elsewhere.latest('error'), undefined);
  elsewhere.pause();
});

test('without a folder a consent holds for its client alone, and the error names the option', async () => {
  const client = await fedra.FedraClient.connect({ ...place, privacy: { consent: { text: 'x', version: '1', ask: () => true } } });
  clients.push(client);
  const { code, message, fatal } = client.latest('error') ?? (await sees(client, 'error'));
  assert.deepEqual([code, fatal], ['no-storage', false]);
  assert.match(message, /option storage/);
  while (client.latest('status')?.state !== 'training') await sees(client, 'status');
});

test('what was sent is logged in the folder, and later clients add to it', async () => {
  assert.deepEqual(await fedra.FedraClient.sent({ ...place, storage }), { rounds: [], earlier: { rounds: 0, bytes: 0 } });
  for (let visit = 0; visit < 2; visit += 1) {
    const client = await connect({ task: 'private' });
    await afterTraining(client, 'update');
    await client.close();
  }
  const { rounds } = await fedra.FedraClient.sent({ ...place, task: 'private', storage });
  assert.deepEqual(
    rounds.map(({ round, policy, outcome }) => [round, policy, outcome]),
    [
      [1, 'distributed', 'accepted'],
      [2, 'distributed', 'accepted'],
    ],
  );
  assert.ok(rounds.every(({ at, bytes }) => at instanceof Date && bytes > 0));
});

test('a crash of the thread starts another one, with the data', async () => {
  const client = await connect();
  await client.train(data());
  const again = sees(client, 'update');
  await assert.rejects(client.predict(Float32Array.of(666)), { code: 'worker-failed', message: /unreachable/ });
  assert.equal((await again).outcome, 'accepted');
});

test('pictures are refused with what to give instead', async () => {
  const client = await connect();
  const images = [{ file: new Blob([Uint8Array.of(1)]), label: 'daisy' }];
  await assert.rejects(client.train({ images }), { code: 'bad-dataset', message: /as arrays/ });
});

test('pinned modules run, and others do not', async () => {
  await (await connect({ pin: true })).close();
  await assert.rejects(connect({ pin: { 'fedra_bg.wasm': 'ab'.repeat(32) } }), { code: 'wasm-hash-mismatch' });
  await assert.rejects(connect({ wasm: './nowhere.wasm' }), { code: 'wasm-load-failed', message: /nowhere\.wasm/ });
});

for (const [name, options, message] of [
  ['a worker', { worker: () => {} }, /has no worker/],
  ['WebGPU', { backend: 'webgpu' }, /no WebGPU/],
  ['a folder that is none', { storage: 7 }, /storage must be a folder/],
  ['a choice of tabs', { tabs: 'one' }, /has no tabs/],
  ['a rule to rest', { pauses: {} }, /has no pauses: .* call pause/],
  ['an unknown name', { store: 'x' }, /has no store/],
]) {
  test(`${name} is refused`, () => assert.rejects(connect(options), { code: 'invalid-options', message }));
}

test('a folder that cannot be made is refused', () =>
  assert.rejects(connect({ storage: join(home, 'package.json', 'state') }), { code: 'no-storage', message: /option storage/ }));

test('a model is loaded, asked and disposed of', async () => {
  const file = new TextEncoder().encode('a model');
  const sha256 = createHash('sha256').update(file).digest('hex');
  const described = { model: { sha256, url: `../models/${sha256}`, bytes: file.length, round: 3 } };
  const server = createServer(({ url }, answer) => answer.end(url.includes('/tasks/') ? JSON.stringify(described) : file));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const model = await fedra.FedraClient.load({ url: `http://127.0.0.1:${server.address().port}`, task: 'digits' });
  assert.deepEqual([...(await model.predict(Float32Array.of(2)))], [-2]);
  model[Symbol.dispose]();
  server.close();
});

/** A process that connects, and does `then` with the client. Resolves with its output, its exit code or its signal. */
function program(then, during = () => {}) {
  const script = `
    import { FedraClient } from ${JSON.stringify(pathToFileURL(join(home, 'dist/node.js')))};
    const client = await FedraClient.connect(${JSON.stringify({ ...place, task: 'private', storage })});
    client.addEventListener('update', ({ detail }) => console.log(\`round \${detail.round}\`));
    ${then}
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (text) => {
      output += text;
      during(child, output);
    });
  }
  return new Promise((resolve) => child.on('close', (code, signal) => resolve({ output, end: signal ?? code })));
}
const TRAIN = 'await client.train({ features: Float32Array.of(1), labels: [0], shape: [1, 1] });';

test('a process ends by itself once its client is closed', async () => {
  assert.deepEqual(await program(`${TRAIN} await client.close();`), { output: 'round 1\n', end: 0 });
});

test('Ctrl-C ends a process at once, what was counted stays, and a client that is closed by then ends it cleanly', async () => {
  const interrupt = (child, output) => output.endsWith('\n') && child.kill('SIGINT');
  assert.deepEqual(await program(TRAIN, interrupt), { output: 'round 1\n', end: 'SIGINT' });
  const closes = "process.once('SIGINT', () => client.close());";
  assert.deepEqual(await program(closes + TRAIN, interrupt), { output: 'round 2\n', end: 0 });
});
