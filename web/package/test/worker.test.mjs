// The worker's side, with a module in the place of the WebAssembly that records
// what it is started with.
import assert from 'node:assert/strict';
import { register } from 'node:module';
import { afterEach, test } from 'node:test';

const script = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
const fake = script(`
  export default async () => {};
  export class EdgeClient {
    constructor(...given) { globalThis.given = given; }
    run() { return new Promise(() => {}); }
  }
`);
register(script(`
  export const resolve = (specifier, context, next) =>
    specifier.endsWith('wasm/fedra_cpu.js') ? { url: ${JSON.stringify(fake)}, shortCircuit: true } : next(specifier, context);
`));

const settled = () => new Promise((resolve) => setImmediate(resolve));
let workers = 0;

/** A started worker: what it posts, a way to tell it something, and what the module was given. */
async function start(token) {
  const posted = [];
  let started;
  const ready = new Promise((resolve) => (started = resolve));
  globalThis.self = {
    postMessage: (message) => {
      posted.push(structuredClone(message));
      if (message.type === 'started' || message.type === 'failed') started(message);
    },
  };
  await import(`../dist/worker.js?${++workers}`);
  const tell = (data) => globalThis.self.onmessage({ data });
  tell({ type: 'start', config: { url: 'ws://x/', task: 'mnist', backend: 'cpu', privacy: {}, token } });
  assert.equal((await ready).type, 'started');
  const [config, , ask] = globalThis.given;
  return { posted, tell, config, ask };
}

afterEach(() => {
  delete globalThis.self;
  delete globalThis.given;
});

test('without tokens the module has nobody to ask, and is told nothing of them', async () => {
  const { config, ask } = await start('none');
  assert.equal(ask, undefined);
  assert.deepEqual(Object.keys(config).sort(), ['backend', 'privacy', 'task', 'url']);
});

test('a question of the module goes to the page, and the answer comes back to it', async () => {
  const { posted, tell, ask } = await start('ask');
  const [first, second] = [ask(), ask()];
  const [one, two] = posted.slice(-2);
  assert.deepEqual([one.type, two.type], ['ask-token', 'ask-token']);
  assert.notEqual(one.id, two.id);
  tell({ type: 'token', id: two.id, token: 'b' });
  tell({ type: 'token', id: one.id, token: 'a' });
  assert.deepEqual(await Promise.all([first, second]), ['a', 'b']);
});

test('what keeps the page from answering is the reason that the module hears', async () => {
  const { posted, tell, ask } = await start('ask');
  const asked = ask();
  tell({ type: 'no-token', id: posted.at(-1).id, message: 'not signed in' });
  await assert.rejects(asked, /not signed in/);
  // An answer to nothing is nothing.
  tell({ type: 'token', id: 99, token: 'c' });
  await settled();
  assert.ok(posted.every(({ type }) => type !== 'failed'));
});
