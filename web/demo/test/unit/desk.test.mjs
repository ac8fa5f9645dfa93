// The operator's session over a made-up aggregator, whose answers a test can hold
// back: the task that an order is for, and the views that show its outcome.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { AdminApi } from '../../../node_modules/.cache/fedra-demo/admin/api.js';
import { Desk } from '../../../node_modules/.cache/fedra-demo/admin/desk.js';
import { viewOf } from '../../../node_modules/.cache/fedra-demo/admin/state.js';
import { makeOperators, TOKEN } from '../harness/operators.mjs';

let operators;
let stored;
/** Promises that answers wait for, by path. */
let gates;
let listReversed;
let look;

beforeEach(() => {
  operators = makeOperators();
  stored = new Map();
  gates = new Map();
  listReversed = false;
  put('fetch', answer);
  // Hidden: no look follows another by itself.
  put('document', { visibilityState: 'hidden', addEventListener: (_, listener) => (look = listener), removeEventListener() {} });
  put('sessionStorage', {
    getItem: (key) => stored.get(key) ?? null,
    setItem: (key, text) => stored.set(key, text),
    removeItem: (key) => stored.delete(key),
  });
});

/** Sets a global for good: a desk's last look may end after its test. */
function put(name, value) {
  Object.defineProperty(globalThis, name, { configurable: true, value });
}

async function answer(url, { method = 'GET', body = '', headers }) {
  const { pathname, searchParams } = new URL(url);
  const [status, said] = operators.answer(method, pathname, searchParams, body, Object.fromEntries(headers));
  await gates.get(pathname);
  if (pathname === '/v1/admin/status' && listReversed) said.tasks.reverse();
  return new Response(typeof said === 'string' ? said : JSON.stringify(said), { status });
}

/** Holds answers to this path back. Returns a function that lets them go. */
function hold(path) {
  let release;
  gates.set(path, new Promise((resolve) => (release = resolve)));
  return () => (gates.delete(path), release());
}

const until = (desk, holds) =>
  new Promise((resolve) => {
    const check = () => {
      if (!holds(desk.state)) return;
      desk.removeEventListener('change', check);
      resolve();
    };
    desk.addEventListener('change', check);
    check();
  });

/** A signed-in desk with the view of the address. */
async function opened(hash = '', keep = false) {
  const desk = new Desk(new AdminApi('http://host'));
  desk.open(viewOf(hash));
  await desk.signIn(TOKEN, keep);
  await until(desk, ({ operated }) => operated !== undefined);
  return desk;
}

async function looksOnce(desk) {
  const { operated } = desk.state;
  document.visibilityState = 'visible';
  look();
  document.visibilityState = 'hidden';
  await until(desk, (state) => state.operated !== operated);
}

test('the first task stays the one that is looked at when another comes before it', async () => {
  const desk = await opened();
  assert.equal(desk.state.operated.id, 'digits');
  listReversed = true;
  await looksOnce(desk);
  assert.deepEqual(
    desk.state.tasks.map(({ id }) => id),
    ['clinic', 'digits'],
  );
  assert.equal(desk.state.operated.id, 'digits');
});

test('an order about a task that is no longer looked at goes nowhere', async () => {
  const desk = await opened('#/tasks/digits');
  assert.deepEqual([await desk.operate('clinic', 'stop'), await desk.rollBack('clinic', 5)], [false, false]);
  assert.deepEqual(operators.orders, []);
});

test('what was done to one task is not told at another', async () => {
  const desk = await opened('#/tasks/digits');
  const release = hold('/v1/admin/tasks/digits/pause');
  const pausing = desk.operate('digits', 'pause');
  desk.show(viewOf('#/tasks/clinic'));
  release();
  assert.equal(await pausing, true);
  assert.deepEqual([desk.state.notice, desk.state.busy, operators.orders.length], [undefined, undefined, 1]);
});

test('the next order waits until the task is seen as the last one left it', async () => {
  const desk = await opened('#/tasks/digits');
  const release = hold('/v1/admin/tasks/digits');
  const pausing = desk.operate('digits', 'pause');
  await until(desk, ({ notice }) => notice !== undefined);
  assert.equal(await desk.operate('digits', 'resume'), false);
  release();
  await pausing;
  assert.deepEqual([desk.state.operated.state, desk.state.busy], ['paused', undefined]);
  assert.equal(await desk.operate('digits', 'resume'), true);
  assert.deepEqual(
    operators.orders.map(({ path }) => path),
    ['tasks/digits/pause', 'tasks/digits/resume'],
  );
});

test('while a model is downloaded a task can be stopped, and no second download begins', async () => {
  const desk = await opened('#/tasks/digits');
  const release = hold('/v1/admin/tasks/digits/export');
  const saved = [];
  const save = (_, name) => saved.push(name);
  const exporting = desk.exportModel('digits', 24, save);
  assert.equal(await desk.exportModel('digits', 24, save), false);
  assert.equal(await desk.operate('digits', 'stop'), true);
  assert.deepEqual([desk.state.busy, desk.state.exporting], [undefined, true]);
  release();
  assert.equal(await exporting, true);
  assert.deepEqual([saved, desk.state.exporting], [['digits-24.safetensors'], false]);
});

test('what ends after the operator has left is not told to the next one', async () => {
  const desk = await opened('#/tasks/digits');
  const release = hold('/v1/admin/tasks/digits/pause');
  const pausing = desk.operate('digits', 'pause');
  desk.signOut();
  await desk.signIn(TOKEN, false);
  release();
  await pausing;
  assert.deepEqual([desk.state.access, desk.state.notice], ['operator', undefined]);
});

test('a token that is not to be kept takes the place of one that was', async () => {
  await opened('', true);
  assert.deepEqual([...stored.values()], [TOKEN]);
  const desk = await opened('', true);
  await desk.signIn(TOKEN, false);
  assert.deepEqual([...stored.values()], []);
});
