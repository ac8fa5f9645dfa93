// Builds the pages with the fake module in the place of the real one, and
// serves them beside a made-up aggregator's HTTP answers, under the policy that
// an aggregator sends with its pages. For tests only.
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { pages } from '../../pages.js';
import { tenClasses } from '../fixtures/classes.mjs';
import { exampleTask, PRICES } from '../fixtures/tasks.mjs';

const demo = fileURLToPath(new URL('../..', import.meta.url));
const fake = fileURLToPath(new URL('../fixtures/fake-wasm.js', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json' };

/** No inline script and no inline style; WebAssembly may be compiled. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "font-src 'self'",
  "manifest-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** Resolves to `{ folder, remove }`: the built pages, by default those that are served. */
export async function buildPages(input = pages) {
  const folder = mkdtempSync(join(tmpdir(), 'fedra-page-'));
  const useFake = () => ({
    name: 'fake-wasm',
    enforce: 'pre',
    resolveId: (id) => (/\/wasm\/fedra(-reader)?\.js$/.test(id) ? fake : null),
  });
  await build({
    root: demo,
    configFile: false,
    logLevel: 'warn',
    base: './',
    publicDir: join(demo, 'public'),
    build: {
      outDir: folder,
      emptyOutDir: true,
      target: 'es2022',
      assetsInlineLimit: 0,
      copyPublicDir: false,
      rolldownOptions: { input },
    },
    worker: { format: 'es', plugins: () => [useFake()] },
    plugins: [useFake()],
  });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/**
 * Resolves to `{ url, requests, close }`. `respond` is given each request below
 * `/v1/`: the method, the path, the query, the body, the headers. It returns
 * `[status, body, type]`.
 */
export async function servePages(folder, respond) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    const path = normalize(decodeURIComponent(pathname));
    requests.push(path);
    if (path.startsWith('/v1/')) {
      let sent = '';
      for await (const chunk of request) sent += chunk;
      const [status, body, type = 'application/json'] = respond(request.method, path, searchParams, sent, request.headers);
      return response.writeHead(status, { 'content-type': type }).end(typeof body === 'string' ? body : JSON.stringify(body));
    }
    for (const base of [folder, join(demo, 'public')]) {
      let full = join(base, path);
      if (statSync(full, { throwIfNoEntry: false })?.isDirectory()) full = join(full, 'index.html');
      if (!full.startsWith(base) || !statSync(full, { throwIfNoEntry: false })?.isFile()) continue;
      response.writeHead(200, {
        'content-type': TYPES[extname(full)] ?? 'application/octet-stream',
        'content-security-policy': POLICY,
        'access-control-allow-origin': '*',
      });
      return createReadStream(full).pipe(response);
    }
    response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const MODEL = 'a model';
const HASH = createHash('sha256').update(MODEL).digest('hex');

/**
 * Answers to the visitors' page. The list has one task, or with the cookie
 * `choice=1` also a private one; `?task=` knows more of them.
 */
export function visitors(_method, path, _query, _body, { cookie = '' }) {
  const choice = /choice=1/.test(cookie);
  const history = Array.from({ length: 5 }, (_, index) => {
    const loss = 0.12 + 1.4 * Math.exp(-(index + 1) / 5);
    return {
      round: index + 1,
      accuracy: 1 - loss * 0.24,
      loss,
      by_clients: null,
      reports: 22,
      seconds: 4,
      bytes_up: 1,
      bytes_down: 1,
      refused: false,
    };
  });
  const task = {
    id: 'mnist',
    title: 'Handwritten digits',
    state: 'running',
    health: { state: 'ok', reason: null, since: '2026-01-01T09:00:00Z', attempts: 0, failures: [] },
    round: 5,
    round_under_way: 6,
    attempt: 0,
    phase: 'selecting',
    cohort: { invited: 0, reported: 0, left: 0, report_goal: 20 },
    seconds_left: null,
    clients_connected: 30,
    model: {
      sha256: HASH,
      url: `../models/${HASH}`,
      bytes: MODEL.length,
      parameters: 199210,
      round: 5,
      frozen: null,
      input: [784],
      vocabulary: null,
      output: [10],
      loss: 'softmax_cross_entropy',
    },
    data: null,
    evaluated: true,
    headline: 'accuracy',
    latest: { round: 5, accuracy: 0.9, loss: 0.3, macro_f1: 0.893 },
    latest_by_clients: null,
    gate: null,
    classes: tenClasses(),
    history,
    rounds_total: 40,
    privacy: null,
  };
  const terms = {
    policy: 'distributed',
    epsilon: 8,
    delta: 1e-5,
    spent_epsilon: 2.78,
    round_epsilon: 1.24,
    noise_multiplier: 1.1,
    clipping_norm: 0.8,
    target_quantile: 0.5,
    minimum_survivors: 20,
    colluders: 2,
    max_participations: 20,
    counts_subjects: true,
    debits: 5,
    subjects: 90,
  };
  const finished = { state: 'finished', phase: 'finished' };
  const others = {
    private: { title: 'Handwritten digits, privately', privacy: terms },
    worn: { privacy: { ...terms, max_participations: 1 } },
    local: { privacy: { ...terms, policy: 'local' } },
    central: { privacy: { ...terms, policy: 'central' } },
    weak: { privacy: terms },
    spent: { ...finished, privacy: { ...terms, spent_epsilon: 7.9 } },
    done: finished,
    'phase-of-flight': { ...exampleTask('phase-of-flight', task.model), classes: null },
    'moby-dick': {
      ...exampleTask('moby-dick', task.model),
      headline: 'bits_per_token',
      classes: null,
      latest: { round: 5, accuracy: 0.4, loss: 2.1, bits_per_token: 3.03 },
      history: history.map((point) => ({ ...point, bits_per_token: 3 + point.loss })),
    },
    teach: {
      ...exampleTask('teach', task.model),
      classes: null,
      latest: null,
      latest_by_clients: { round: 5, accuracy: 0.75, loss: 0.61 },
      history: [],
    },
    // Tasks that the page's own file does not know.
    prices: { title: 'Prices of houses', data: PRICES, model: { ...task.model, input: [4], output: [3] }, classes: null },
    signals: {
      title: 'Signals of a machine',
      data: { kind: 'array', shape: [2, 16], dtype: 'float32' },
      model: { ...task.model, input: [2, 16], output: [3] },
      classes: null,
    },
    diary: {
      title: 'Diaries',
      data: { kind: 'text', context: 8 },
      model: { ...task.model, input: [8], vocabulary: 256, output: [8, 256] },
      headline: 'bits_per_token',
      classes: null,
    },
    opaque: { title: 'A task of arrays', model: { ...task.model, input: [4, 32, 32], output: [5] }, classes: null },
    late: {},
    lonely: {},
    picky: {},
    diverging: {},
    outpaced: {},
    pruned: { model: { ...task.model, sha256: 'cd'.repeat(32), url: `../models/${'cd'.repeat(32)}` } },
  };
  const named = (id) => ({ ...task, id, ...others[id] });
  if (path === `/v1/models/${HASH}`) return [200, MODEL, 'application/octet-stream'];
  if (path === '/v1/tasks') {
    const listed = choice ? [task, named('private')] : [task];
    return [200, listed.map(({ history: _, classes: __, ...summary }) => summary)];
  }
  const id = path.slice('/v1/tasks/'.length);
  if (id === task.id || others[id]) return [200, named(id)];
  return [404, { title: 'unknown task' }];
}
