import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';
import { dataWords } from '../../../node_modules/.cache/fedra-demo/data-words.js';
import { kindWords } from '../../../node_modules/.cache/fedra-demo/kinds.js';
import { cover } from '../../../node_modules/.cache/fedra-demo/pictures.js';
import { classesOf, csvOf, drawPart, kindOf } from '../../../node_modules/.cache/fedra-demo/task-data.js';

const CONFIGS = fileURLToPath(new URL('../../../../examples/tasks', import.meta.url));
let folder;
let tasks;
const configs = Object.fromEntries(
  readdirSync(CONFIGS).map((file) => {
    // As JSON: objects of the parser have no prototype.
    const [task] = JSON.parse(JSON.stringify(parse(readFileSync(join(CONFIGS, file), 'utf8')).task));
    return [task.id, task];
  }),
);

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'fedra-tasks-'));
  const script = fileURLToPath(new URL('../../scripts/make-tasks.mjs', import.meta.url));
  execFileSync(process.execPath, [script, join(folder, 'page'), join(folder, 'held-out')]);
  tasks = JSON.parse(readFileSync(join(folder, 'page/tasks.json'), 'utf8'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const part = (id, index) => readFileSync(join(folder, 'page', tasks[id].parts[index].file), 'utf8');

test('the page knows each task of examples/tasks as its config describes it', () => {
  assert.deepEqual(Object.keys(tasks), Object.keys(configs));
  for (const [id, { data, held_out: heldOut }] of Object.entries(tasks)) {
    assert.deepEqual(data, configs[id].data);
    assert.equal(heldOut, configs[id].evaluation !== undefined, id);
  }
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
  const { samples, data } = tasks['phase-of-flight'];
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
    const alphabet = new Set(tasks['moby-dick'].data.alphabet);
    const others = [...text].filter((character) => !alphabet.has(character)).length;
    assert.ok(others < text.length / 100, `${others} of ${text.length}`);
  }
});

test('a task with data of its own names their source and their licence', () => {
  for (const { parts, source } of Object.values(tasks)) {
    if (parts.length > 0) assert.ok(source.words.length > 0 && /public domain|work of the United States/.test(source.licence));
    else assert.equal(source, null);
  }
});

test('the data in plain words', () => {
  const { example, facts } = dataWords(tasks['phase-of-flight']);
  assert.match(example, /row of a table\. From 6 columns the model predicts one more, “Phase of flight”/);
  assert.deepEqual(facts[0], ['Speed IAS in knots', 'a number, around 154 give or take 43; 140 where it is missing']);
  assert.deepEqual(facts[4], ['Flight Date', 'a date: the time since 1990-01-01 and the time of the year']);
  assert.deepEqual(facts[5], ['Origin State', 'one of 17 values, such as Texas, California, Louisiana, or any other']);
  assert.match(facts[6].join(), /^Predicted: Phase of flight,one of Approach, Climb/);
  const text = dataWords(tasks['moby-dick']);
  assert.match(text.example, /stretch of 64 characters/);
  assert.match(text.facts[1][1], /^66 characters: 52 letters, 14 signs and spaces; any other character counts as one more$/);
  assert.match(dataWords({ ...tasks['moby-dick'], data: { kind: 'text', context: 9 } }).facts[1][1], /256 bytes/);
  assert.deepEqual(dataWords(tasks.teach).facts[2], ['Classes', 'A, B, C']);
  assert.match(dataWords(undefined).facts[2][1], /digits 0 to 9/);
  const rest = [
    { name: 'n', type: 'number', min: 0, max: 80 },
    { name: 'b', type: 'boolean' },
    { name: 'd', type: 'date', parts: ['week', 'day'] },
    { name: 't', type: 'category', values: ['x', 'y'] },
  ];
  assert.deepEqual(
    dataWords({ ...tasks.teach, data: { kind: 'table', target: 't', columns: rest } }).facts.map(([, words]) => words),
    ['a number, from 0 to 80', 'yes or no', 'a date: the day of the week and the time of the day', 'one of x, y'],
  );
});

test('every kind has words of its own, and a kind that is not known yet has neutral ones', () => {
  const kinds = [undefined, ...Object.values(tasks)].map(kindOf);
  assert.deepEqual(kinds, ['digits', 'text', 'table', 'image']);
  const sentences = [undefined, ...kinds].map((kind) => kindWords(kind).sentence);
  assert.equal(new Set(sentences).size, 5);
});

test('classes have the names of the description', () => {
  assert.deepEqual(classesOf(tasks.teach), ['A', 'B', 'C']);
  assert.equal(classesOf(tasks['phase-of-flight'])[1], 'Climb');
  assert.deepEqual([classesOf(undefined), classesOf(tasks['moby-dick'])], [undefined, undefined]);
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
