// Speed of local training in the browser, printed as a JSON array, with `run.mjs BACKEND`
// of `cpu` or `webgpu` alone; or, as `run.mjs privacy PARAMETERS CLIENTS`, of protecting
// one update. Each case runs in a fresh browser, which has compiled nothing yet, and there
// in a dedicated worker, as in the npm package.

import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';

import { chromium, needed, ROOT, SWITCHES } from '../e2e/harness/paths.mjs';

const MODULE = needed(`${ROOT}web/package/wasm`);
const WORKER = new URL('worker.mjs', import.meta.url);
const MODELS = ['mnist-2nn', 'mnist-cnn'];
const BATCHES = [10, 32];
const TYPES = { js: 'text/javascript', mjs: 'text/javascript', wasm: 'application/wasm' };

const [what, parameters, clients] = process.argv.slice(2);
const backends = what ? [what] : ['cpu', 'webgpu'];
const training = () => backends.flatMap((backend) => MODELS.flatMap((model) => BATCHES.map((batch) => ({ backend, model, batch }))));
const cases = what === 'privacy' ? [{ backend: 'cpu', parameters: Number(parameters), clients: Number(clients) }] : training();

const server = await serve();
try {
  const results = [];
  for (const one of cases) {
    const title = one.model ? `${one.model} batch ${one.batch}` : `${one.parameters} parameters`;
    process.stderr.write(`    ${one.backend} ${title}\n`);
    results.push({ ...(await inBrowser(one)), ...one });
  }
  console.log(JSON.stringify(results));
} finally {
  server.close();
}

async function inBrowser(one) {
  const browser = await chromium.launch({ executablePath: process.env.CHROME ?? 'chromium', args: SWITCHES });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    return await page.evaluate(inWorker, one);
  } finally {
    await browser.close();
  }
}

/** Runs in the page. */
function inWorker(one) {
  return new Promise((resolve, reject) => {
    const worker = new Worker('/worker.mjs', { type: 'module' });
    worker.onmessage = ({ data }) => {
      worker.terminate();
      if (data.error) reject(new Error(data.error));
      else resolve(data.result);
    };
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(one);
  });
}

/** An empty page, the worker and the module. */
function serve() {
  const server = createServer(({ url }, answer) => {
    const name = url.slice(1);
    const file = name === 'worker.mjs' ? WORKER : `${MODULE}/${name}`;
    if (name === '') {
      answer.setHeader('content-type', 'text/html');
      answer.end('<!doctype html><title>bench</title>');
    } else if (/^[\w.]+$/.test(name) && existsSync(file)) {
      answer.setHeader('content-type', TYPES[name.split('.').at(-1)] ?? 'text/plain');
      createReadStream(file).pipe(answer);
    } else {
      answer.statusCode = 404;
      answer.end();
    }
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}
