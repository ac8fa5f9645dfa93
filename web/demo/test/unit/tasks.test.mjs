import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { dataWords, predictions } from '../../../node_modules/.cache/fedra-demo/data-words.js';
import { kindWords } from '../../../node_modules/.cache/fedra-demo/kinds.js';
import { cover } from '../../../node_modules/.cache/fedra-demo/pictures.js';
import {
  blankRow,
  classesOf,
  csvOf,
  dataOf,
  drawPart,
  kindOf,
  probabilitiesOf,
  unscaled,
} from '../../../node_modules/.cache/fedra-demo/task-data.js';
import { exampleTask } from '../fixtures/tasks.mjs';

const DIGITS = { input: [784], vocabulary: null, output: [10], loss: 'softmax_cross_entropy' };
const examples = Object.fromEntries(
  readdirSync(fileURLToPath(new URL('../../../../examples/tasks', import.meta.url))).map((file) => {
    const id = basename(file, '.toml');
    return [id, exampleTask(id, DIGITS)];
  }),
);
const digits = { data: null, model: DIGITS };
let folder;
let tasks;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'fedra-tasks-'));
  const script = fileURLToPath(new URL('../../scripts/make-tasks.mjs', import.meta.url));
  execFileSync(process.execPath, [script, join(folder, 'page'), join(folder, 'held-out')]);
  tasks = JSON.parse(readFileSync(join(folder, 'page/tasks.json'), 'utf8'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const part = (id, index) => readFileSync(join(folder, 'page', tasks[id].parts[index].file), 'utf8');

test('the page’s file has what the aggregator cannot tell, of tasks with data', () => {
  assert.deepEqual(Object.keys(tasks), ['moby-dick', 'phase-of-flight']);
  for (const task of Object.values(tasks)) assert.deepEqual(Object.keys(task), ['parts', 'samples', 'source']);
});

test('the table: every row of the package once, in a part or held out', () => {
  const rows = (text) => text.trim().split('\n').slice(1);
  const parts = tasks['phase-of-flight'].parts.map((_, index) => rows(part('phase-of-flight', index)));
  const heldOut = rows(readFileSync(join(folder, 'held-out/phase-of-flight.csv'), 'utf8'));
  assert.deepEqual([parts.length, heldOut.length], [10, 2000]);
  assert.equal(parts.flat().length + heldOut.length, 10_000);
  // As docs/guides/tabular.md cuts the same table with awk.
  const sizes = parts.map((some) => some.length);
  assert.deepEqual([sizes[0], Math.max(...sizes), Math.min(...sizes)], [1729, 2122, 204]);
  assert.equal(tasks['phase-of-flight'].parts[0].title, 'AMERICAN AIRLINES');
});

test('the table’s samples show every class, and most have no gaps', () => {
  const { samples } = tasks['phase-of-flight'];
  const { data } = examples['phase-of-flight'];
  const { values } = data.columns.find(({ name }) => name === data.target);
  assert.deepEqual(new Set(samples.map((row) => row[data.target])), new Set(values));
  const whole = samples.filter((row) => data.columns.every(({ name }) => row[name] !== ''));
  assert.ok(whole.length > samples.length / 2, `${whole.length} of ${samples.length}`);
});

test('the text: no part is held out as well, and nearly all of it is in the alphabet', () => {
  const heldOut = readFileSync(join(folder, 'held-out/moby-dick.txt'), 'utf8');
  const parts = tasks['moby-dick'].parts.map((_, index) => part('moby-dick', index));
  assert.match(parts[0], /^Call me Ishmael\. /);
  for (const text of parts) {
    assert.ok(!text.includes(heldOut.slice(0, 200)));
    const alphabet = new Set(examples['moby-dick'].data.alphabet);
    const others = [...text].filter((character) => !alphabet.has(character)).length;
    assert.ok(others < text.length / 100, `${others} of ${text.length}`);
  }
});

test('a task with data of its own names their source and their licence', () => {
  for (const { parts, source } of Object.values(tasks)) {
    assert.ok(parts.length > 0 && source.words.length > 0 && /public domain|work of the United States/.test(source.licence));
  }
});

/** Words of a task as an aggregator tells it. */
const wordsOf = (task) => dataWords(kindOf(task), dataOf(task), task.model);
const described = (data) => ({ data, model: DIGITS });

test('the data in plain words', () => {
  const { example, facts } = wordsOf(examples['phase-of-flight']);
  assert.match(example, /row of a table\. From 6 columns the model predicts one more, “Phase of flight”/);
  assert.deepEqual(facts[0], ['Speed IAS in knots', 'a number, counted from 154 in steps of 43; 140 where it is missing']);
  assert.deepEqual(facts[4], ['Flight Date', 'a date: the time since 1990-01-01 and the time of the year']);
  assert.deepEqual(facts[5], ['Origin State', 'one of 17 values, such as Texas, California, Louisiana, or any other']);
  assert.match(facts[6].join(), /^Predicted: Phase of flight,one of Approach, Climb/);
  const text = wordsOf(examples['moby-dick']);
  assert.match(text.example, /stretch of 64 characters/);
  assert.match(text.facts[1][1], /^66 characters: 52 letters, 14 signs and spaces; any other character counts as one more$/);
  assert.match(wordsOf(described({ kind: 'text', context: 9 })).facts[1][1], /256 bytes/);
  assert.deepEqual(wordsOf(examples.teach).facts[2], ['Classes', 'A, B, C']);
  assert.match(wordsOf(digits).facts[2][1], /digits 0 to 9/);
  assert.match(wordsOf(described({ kind: 'array', shape: [2, 16], dtype: 'float32' })).example, /an array of the shape 2 × 16, with/);
  const rest = [
    { name: 'n', type: 'number' },
    { name: 'b', type: 'boolean' },
    { name: 'd', type: 'date', parts: ['week', 'day'] },
    { name: 't', type: 'category', values: ['x', 'y'] },
  ];
  assert.deepEqual(
    wordsOf(described({ kind: 'table', target: 't', columns: rest })).facts.map(([, words]) => words),
    ['a number', 'yes or no', 'a date: the day of the week and the time of the day', 'one of x, y'],
  );
});

test('every kind has words of its own, and a kind that is not known yet has neutral ones', () => {
  const kinds = [digits, ...Object.values(examples), described({ kind: 'array', shape: [4], dtype: 'uint8' })].map(kindOf);
  assert.deepEqual(kinds, ['digits', 'text', 'table', 'image', 'array']);
  const sentences = [undefined, 'other', ...kinds].map((kind) => kindWords(kind).sentence);
  assert.equal(new Set(sentences).size, 7);
});

test('a task without a description is one of digits only if its model takes them', () => {
  assert.equal(kindOf({ data: null, model: { ...DIGITS, input: [1, 28, 28] } }), 'digits');
  for (const other of [{ input: [785] }, { input: [3, 28, 28] }, { output: [2] }, { loss: 'huber' }, { vocabulary: 256 }])
    assert.equal(kindOf({ data: null, model: { ...DIGITS, ...other } }), 'other', JSON.stringify(other));
  assert.equal(kindOf(described({ kind: 'sound' })), 'other', 'of a later aggregator');
  const model = { ...DIGITS, input: [4, 32, 32], output: [5] };
  const { example, facts } = wordsOf({ data: null, model });
  assert.match(example, /an array of the shape 4 × 32 × 32\. Give arrays from a page of your own with the npm package/);
  assert.deepEqual(facts, [
    ['Takes', '4\u202f096 numbers an example'],
    ['Gives', '5 numbers an example'],
  ]);
});

test('classes have the names of the description', () => {
  const classes = (task) => classesOf(dataOf(task));
  assert.deepEqual(classes(examples.teach), ['A', 'B', 'C']);
  assert.equal(classes(examples['phase-of-flight'])[1], 'Climb');
  assert.deepEqual([classes(digits), classes(examples['moby-dick'])], [undefined, undefined]);
  const table = (target, type, more = {}) => described({ kind: 'table', target, columns: [{ name: 'a', type, ...more }] });
  assert.deepEqual(classes(table('a', 'category', { values: ['x'], other: true })), ['x', '(other)']);
  assert.deepEqual(classes(table('a', 'boolean')), ['no', 'yes']);
  assert.equal(classes(table('a', 'number')), undefined);
  assert.deepEqual([...probabilitiesOf(Float32Array.of(0.25), ['no', 'yes'])], [0.75, 0.25]);
});

test('predicted numbers are in the unit of the table, and several answers stand by themselves', () => {
  const columns = [
    { name: 'area', type: 'number' },
    { name: 'price', type: 'number', mean: 300, deviation: 50 },
    { name: 'rent', type: 'number' },
  ];
  assert.equal(unscaled(columns[1], -2), 200);
  assert.deepEqual(predictions({ kind: 'table', target: ['rent', 'price'], columns }, Float32Array.of(-0.123456, 1)), [
    ['rent', '−0.1235'],
    ['price', '350'],
  ]);
  const answers = ['a', 'b'].map((name) => ({ name, type: 'boolean' }));
  assert.deepEqual(predictions({ kind: 'table', target: ['a', 'b'], columns: answers }, Float32Array.of(0.25, 1)), [
    ['a', 'yes: 25 %'],
    ['b', 'yes: 100 %'],
  ]);
});

test('a row to begin with has a value in each column but the target', () => {
  const columns = [
    { name: 'n', type: 'number', mean: 154, deviation: 43 },
    { name: 'c', type: 'category', values: ['x', 'y'] },
    { name: 'b', type: 'boolean' },
    { name: 'd', type: 'date', parts: ['year'], min: '1990-01-01T00:00' },
    { name: 't', type: 'number' },
  ];
  const table = { kind: 'table', target: 't', columns };
  assert.deepEqual(blankRow(table), { n: '154', c: 'x', b: 'no', d: '1990-01-01' });
  assert.equal(csvOf(table, blankRow(table)).split('\n')[1], '"154","x","no","1990-01-01","0"');
});

test('a row becomes a file that any value survives, and has a target', () => {
  const description = {
    kind: 'table',
    target: 't',
    columns: [
      { name: 'a, "b"', type: 'number' },
      { name: 't', type: 'category', values: ['x', 'y'] },
    ],
  };
  assert.equal(csvOf(description, { 'a, "b"': '1,5' }), '"a, ""b""","t"\n"1,5","x"\n');
  assert.equal(csvOf(description, { t: 'y' }), '"a, ""b""","t"\n"","y"\n');
});

test('a part is the one that was asked for, or one of them', () => {
  assert.equal(drawPart(tasks['phase-of-flight'], 3), 3);
  for (let times = 0; times < 50; times++) assert.ok(drawPart(tasks['phase-of-flight'], undefined) in tasks['phase-of-flight'].parts);
});

test('a picture is cut in its middle to the proportions of the model', () => {
  assert.deepEqual(cover(640, 480, 1), { left: 80, top: 0, width: 480, height: 480 });
  assert.deepEqual(cover(30, 90, 3), { left: 0, top: 40, width: 30, height: 10 });
  assert.deepEqual(cover(32, 32, 1), { left: 0, top: 0, width: 32, height: 32 });
});
