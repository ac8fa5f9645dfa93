// The package in pages without a bundler, with a fake WebAssembly module: from
// another origin, under policies, over https.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launch } from '../harness/chromium.mjs';
import { HASH, Sites } from '../harness/sites.mjs';

let browser;
let sites;
let place;

before(async () => {
  sites = await Sites.start('fake');
  browser = await launch();
  place = { url: sites.page.origin, task: 'mnist' };
});
after(async () => {
  await browser?.close();
  await sites?.end();
});

/** Connects, trains, and returns the first update's outcome. */
const takesPart = (page, options = {}) =>
  page.evaluate(
    async ([where, more]) => {
      const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu', ...more });
      const { features, labels } = window.examples(20);
      await client.train({ features, labels, shape: [20, 784] });
      const { outcome } = await window.sees(client, 'update');
      await client.close();
      return outcome;
    },
    [place, options],
  );

const connectFails = (page, options = {}) =>
  page.evaluate(
    ([where, more]) => window.failure(window.fedra.FedraClient.connect({ ...where, backend: 'cpu', ...more })),
    [place, options],
  );

/** An aggregator that only has a model. */
async function startModels() {
  const file = Buffer.from('a model');
  const sha256 = createHash('sha256').update(file).digest('hex');
  const model = { sha256, url: `../models/${sha256}`, bytes: file.length, round: 5 };
  const server = createServer(({ url }, answer) => {
    answer.writeHead(200, { 'access-control-allow-origin': '*' }).end(url.includes('/tasks/') ? JSON.stringify({ model }) : file);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, end: () => new Promise((resolve) => server.close(resolve)) };
}

const policy = (directives) =>
  Object.entries({
    'default-src': "'none'",
    'script-src': "'self' 'wasm-unsafe-eval'",
    'worker-src': "'self'",
    'connect-src': "'self'",
    ...directives,
  })
    .map((directive) => directive.join(' '))
    .join('; ');

test('a page that imports the package from another origin takes part', async () => {
  const page = await sites.open(browser, sites.foreign);
  assert.equal(await takesPart(page), 'accepted');
  await page.close();
});

test('the same under a policy that names what the readme says', async () => {
  const cdn = sites.cdn.origin;
  const page = await sites.open(browser, sites.foreign, {
    policy: policy({ 'script-src': `${cdn} 'wasm-unsafe-eval'`, 'worker-src': 'blob:', 'connect-src': `'self' ${cdn}` }),
  });
  assert.equal(await takesPart(page), 'accepted');
  await page.close();
});

for (const [name, worker] of [
  ['an address of the page’s origin', () => `${sites.page.origin}/fedra/dist/worker.js`],
  ['an address of another origin', () => `${sites.cdn.origin}/fedra/dist/worker.js`],
]) {
  test(`the option worker takes ${name}`, async () => {
    const page = await sites.open(browser, sites.foreign);
    assert.equal(await takesPart(page, { worker: worker() }), 'accepted');
    await page.close();
  });
}

test('the option worker takes a function', async () => {
  const page = await sites.open(browser, sites.own);
  const state = await page.evaluate(async (where) => {
    const worker = () => new Worker('/fedra/dist/worker.js', { type: 'module', name: 'made by the page' });
    const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu', worker });
    const { id } = await window.sees(client, 'task');
    await client.close();
    return id;
  }, place);
  assert.equal(state, place.task);
  await page.close();
});

test('a pinned module runs, also from another origin, and one with another hash does not', async () => {
  for (const from of ['own', 'foreign']) {
    const page = await sites.open(browser, sites[from]);
    assert.equal(await takesPart(page, { pin: true }), 'accepted');
    const other = 'ab'.repeat(32);
    const failure = await connectFails(page, { pin: { 'fedra_bg.wasm': other } });
    assert.equal(failure?.code, 'wasm-hash-mismatch');
    assert.ok(failure.message.includes(HASH) && failure.message.includes(other), failure.message);
    await page.close();
  }
});

test('the package as one module takes part under the policy that the readme names, without any other file', async () => {
  const page = await sites.open(browser, sites.inline, {
    policy: policy({ 'worker-src': 'blob:', 'connect-src': sites.page.origin.replace('http', 'ws') }),
  });
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  assert.equal(await takesPart(page, { pin: true }), 'accepted');
  assert.deepEqual(
    asked.filter((url) => url.startsWith('http')),
    [],
  );
  const failure = await connectFails(page, { pin: { 'fedra_bg.wasm': 'ab'.repeat(32) } });
  assert.equal(failure?.code, 'wasm-hash-mismatch');
  await page.close();
});

for (const [name, from, directives, code, words] of [
  ['the worker in the module', 'inline', { 'worker-src': "'self'" }, 'worker-failed', /worker-src must have blob:/],
  ['the WebAssembly in the module', 'inline', { 'worker-src': 'blob:', 'script-src': "'self'" }, 'wasm-load-failed', /wasm-unsafe-eval/],
  ['the worker', 'own', { 'worker-src': "'none'" }, 'worker-failed', /\/fedra\/dist\/worker\.js.*worker-src must have http:\/\/127/],
  [
    'the worker that imports',
    'foreign',
    { 'script-src': "http://127.0.0.1:* 'wasm-unsafe-eval'" },
    'worker-failed',
    /\/fedra\/dist\/worker\.js.*worker-src must have blob:/,
  ],
  ['the WebAssembly', 'own', { 'script-src': "'self'" }, 'wasm-load-failed', /script-src must have 'wasm-unsafe-eval'/],
  ['the download of the WebAssembly', 'own', { 'connect-src': "'none'" }, 'wasm-load-failed', /connect-src must have http:\/\/127/],
]) {
  test(`a policy that blocks ${name} is named with its directive`, async () => {
    const page = await sites.open(browser, sites[from], { policy: policy(directives) });
    // The page's policy is its worker's, too, if the worker is served with it.
    const failure = await connectFails(page);
    assert.equal(failure?.code, code, JSON.stringify(failure));
    assert.match(failure.message, words);
    await page.close();
  });
}

test('a policy without the other origin is named by the worker that imports', async () => {
  const page = await sites.open(browser, sites.own, { policy: policy({ 'worker-src': 'blob:' }) });
  const failure = await connectFails(page, { worker: `${sites.cdn.origin}/fedra/dist/worker.js` });
  assert.equal(failure?.code, 'worker-failed');
  assert.match(failure.message, /worker\.js could not be imported.*script-src must have http:\/\/127/);
  await page.close();
});

test('a worker that is not there is named', async () => {
  const page = await sites.open(browser, sites.own);
  for (const worker of [`${sites.page.origin}/nowhere.js`, `${sites.cdn.origin}/nowhere.js`]) {
    const { code, message } = await connectFails(page, { worker });
    assert.equal(code, 'worker-failed');
    assert.ok(message.includes(worker), message);
  }
  await page.close();
});

test('a policy without the aggregator ends the client and says what it needs', async () => {
  const page = await sites.open(browser, sites.own, { policy: policy({}) });
  const [error, loading] = await page.evaluate(
    async (where) => {
      const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
      const fatal = await window.sees(client, 'error', (event) => event.fatal);
      return [fatal, await window.failure(window.fedra.FedraClient.load(where))];
    },
    { ...place, url: sites.cdn.origin },
  );
  assert.equal(error.code, 'blocked-by-policy');
  assert.match(error.message, /connect-src must have ws:\/\/127/);
  assert.equal(loading.code, 'no-server');
  assert.match(loading.message, /connect-src must have http:\/\/127/);
  await page.close();
});

test('a page over https is refused an address without encryption at once, and may use this machine’s', async () => {
  const page = await sites.openSecure(browser);
  const refused = await connectFails(page, { url: 'ws://fedra.example/v1/connect' });
  assert.equal(refused?.code, 'invalid-options');
  assert.match(refused.message, /wss:\/\//);
  // The browser itself draws the line in the same place.
  const blocked = await page.evaluate(() => {
    try {
      new WebSocket('ws://fedra.example/');
      return '';
    } catch ({ name }) {
      return name;
    }
  });
  assert.equal(blocked, 'SecurityError');
  assert.equal(await takesPart(page), 'accepted');
  await page.close();
});

test('a service worker loads a model and predicts in its own thread', async () => {
  const page = await sites.open(browser, sites.own);
  const models = await startModels();
  const asked = await page.evaluate(
    async (options) => {
      const { active, installing } = await navigator.serviceWorker.register('/service-worker.js', { type: 'module' });
      const ask = (message) =>
        new Promise((resolve) => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = ({ data }) => resolve(data);
          (active ?? installing).postMessage(message, [port2]);
        });
      const features = new Float32Array(784);
      return [
        await ask({ options: { ...options, pin: true }, features }),
        await ask({ options: { ...options, pin: { 'fedra_bg.wasm': 'ab'.repeat(32) } }, features }),
      ];
    },
    { url: models.origin, task: 'mnist' },
  );
  const [{ outputs, round }, refused] = asked;
  assert.equal(outputs.length, 10);
  assert.equal(round, 5);
  assert.equal(refused.code, 'wasm-hash-mismatch');
  await page.close();
  await models.end();
});
