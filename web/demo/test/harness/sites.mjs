// The npm package as a site without a bundler has it, on the page's own origin
// and on another one, and an empty page under a policy of the test's choice.
import { createHash } from 'node:crypto';
import { copyFileSync, createReadStream, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, extname, join, normalize } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { inline } from '../../../package/scripts/inline.mjs';

const PACKAGE = fileURLToPath(new URL('../../../package/', import.meta.url));
const FAKE = fileURLToPath(new URL('../fixtures/', import.meta.url));

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };
/** An origin whose requests the test answers. */
const SECURE = 'https://page.example';

/** A worker whose browser never names an adapter. */
const HANGING = `
import './hang.js';
import './fedra/dist/worker.js';
`;
const HANG = 'GPU.prototype.requestAdapter = () => new Promise(() => {});';

/** A service worker that predicts what it is asked to. */
const SERVICE_WORKER = `
import { load } from './fedra/dist/predict.js';
self.onmessage = async ({ data: { options, features }, ports: [port] }) => {
  try {
    const model = await load(options);
    port.postMessage({ outputs: await model.predict(features), round: model.round });
    model.close();
  } catch ({ code, message }) {
    port.postMessage({ code, message });
  }
};
`;

/** The made-up module. It is loaded and connects as the real one does. */
const GLUE = `
import { EdgeClient as Fake } from './fake-wasm.js';
export { Predictor } from './fake-wasm.js';
export class EdgeClient extends Fake {
  constructor(config, ...rest) {
    super(config, ...rest);
    new WebSocket(config.url);
  }
}
export default async ({ module_or_path }) => {
  const wasm = await module_or_path;
  if (wasm instanceof WebAssembly.Module) return wasm;
  return wasm instanceof URL ? WebAssembly.compileStreaming(fetch(wasm)) : WebAssembly.compile(wasm);
};
`;
const READER = `
export { DataReader, __wbg_reset_state } from './fake-wasm.js';
export default async () => {};
`;
const EMPTY_MODULE = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
/** The module's SHA-256. */
export const HASH = createHash('sha256').update(EMPTY_MODULE).digest('hex');
const MANIFEST = `export default { files: [{ name: 'fedra_bg.wasm', sha256: '${HASH}' }] };`;
const MADE_UP = {
  '/fedra/wasm/fedra.js': { body: GLUE, type: '.js' },
  '/fedra/wasm/fedra_bg.wasm': { body: EMPTY_MODULE, type: '.wasm' },
  '/fedra/wasm/fedra-reader_bg.wasm': { body: EMPTY_MODULE, type: '.wasm' },
  '/fedra/wasm/manifest.js': { body: MANIFEST, type: '.js' },
  '/fedra/wasm/fedra-reader.js': { body: READER, type: '.js' },
};

export class Sites {
  /** With the module that `cargo xtask dist` built, or with a made-up one. */
  static async start(module = 'real') {
    const madeUp = module === 'fake' ? { ...MADE_UP, '/fedra/dist/inline.js': { body: await inlined(), type: '.js' } } : {};
    const file = (path) => madeUp[path] ?? (module === 'fake' ? fake(path) : undefined) ?? located(path);
    const sites = new Sites();
    sites.file = file;
    sites.page = await serve((path) => {
      const own = {
        '/': '<!doctype html><title>A page</title>',
        '/hanging.js': HANGING,
        '/hang.js': HANG,
        '/service-worker.js': SERVICE_WORKER,
      }[path];
      return own ? { body: own, type: path === '/' ? '.html' : '.js' } : file(path);
    });
    sites.cdn = await serve(file, { 'access-control-allow-origin': '*' });
    return sites;
  }

  /** The package on the page's own origin, and on the other one. */
  get own() {
    return `${this.page.origin}/fedra/dist/index.js`;
  }

  get foreign() {
    return `${this.cdn.origin}/fedra/dist/index.js`;
  }

  /** The package as one module, on the page's own origin. */
  get inline() {
    return `${this.page.origin}/fedra/dist/inline.js`;
  }

  /** Opens the empty page with the package from `address` as `window.fedra`. */
  async open(browser, address, { policy } = {}) {
    this.page.headers = policy ? { 'content-security-policy': policy } : {};
    const page = await browser.newPage();
    await page.goto(`${this.page.origin}/`);
    await load(page, address);
    return page;
  }

  /** The same, as if the page and the package had come over https. */
  async openSecure(browser) {
    const page = await browser.newPage();
    await page.context().route(`${SECURE}/**`, (route) => {
      const { pathname } = new URL(route.request().url());
      const { body, path, type } = pathname === '/' ? { body: '<!doctype html>', type: '.html' } : this.file(pathname);
      return route.fulfill({ ...(path ? { path } : { body }), contentType: TYPES[type] });
    });
    await page.goto(`${SECURE}/`);
    await load(page, `${SECURE}/fedra/dist/index.js`);
    return page;
  }

  /** Loads the page again, with the package from `address`. */
  async reload(page, address) {
    await page.reload();
    await load(page, address);
  }

  async end() {
    await this.page?.end();
    await this.cdn?.end();
  }
}

/** The package as one module, with the made-up module in it. */
async function inlined() {
  const folder = mkdtempSync(join(tmpdir(), 'fedra-inline-'));
  try {
    copyFileSync(join(FAKE, 'fake-wasm.js'), join(folder, 'fake-wasm.js'));
    for (const [path, { body }] of Object.entries(MADE_UP)) writeFileSync(join(folder, basename(path)), body);
    return await inline(pathToFileURL(`${folder}/`));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Adds the package and the helpers to the page, for a test's own script. */
async function load(page, address) {
  await page.evaluate(async (from) => {
    window.fedra = await import(from);
    /** Resolves with an event that satisfies the condition, the newest one included. */
    window.sees = (client, type, condition = () => true) =>
      new Promise((resolve) => {
        const newest = client.latest(type);
        if (newest && condition(newest)) return resolve(newest);
        client.addEventListener(type, ({ detail }) => condition(detail) && resolve(detail));
      });
    /** The code and the words of the error that a promise rejects with. */
    window.failure = (promise) =>
      promise.then(
        () => undefined,
        ({ code, message }) => ({ code, message }),
      );
    /** `count` examples of a made-up kind: the class is the place of the light. */
    window.examples = (count, values = 784, classes = 10) => {
      const features = new Float32Array(count * values);
      const labels = Array.from({ length: count }, (_, index) => index % classes);
      labels.forEach((label, index) => features.fill(1, index * values + label * 70, index * values + label * 70 + 70));
      return { features, labels };
    };
  }, address);
}

/** A file of the package. */
function located(path) {
  return path.startsWith('/fedra/') ? fileAt(PACKAGE, path.slice('/fedra/'.length)) : undefined;
}

/** The file that the made-up module is in. */
function fake(path) {
  return path === '/fedra/wasm/fake-wasm.js' ? fileAt(FAKE, 'fake-wasm.js') : undefined;
}

function fileAt(folder, name) {
  const path = join(folder, normalize(name));
  const isFile = path.startsWith(folder) && statSync(path, { throwIfNoEntry: false })?.isFile();
  return isFile ? { path, type: extname(path) } : undefined;
}

async function serve(respond, constant = {}) {
  const site = { headers: {} };
  const server = createServer((request, response) => {
    const found = respond(new URL(request.url, 'http://site').pathname);
    if (!found) return response.writeHead(404, constant).end();
    response.writeHead(200, { ...constant, ...site.headers, 'content-type': TYPES[found.type] });
    return found.path ? createReadStream(found.path).pipe(response) : response.end(found.body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  site.origin = `http://127.0.0.1:${server.address().port}`;
  site.end = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return site;
}
