/** Every block of code of every page: read, parsed, type-checked or run, or marked with the reason why not. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { parse as parseYaml } from 'yaml';
import { checkToml, makeFiles } from './harness/config.mjs';
import { marked, pages, place, ROOT } from './harness/pages.mjs';
import { printed } from './harness/programs.mjs';
import { checkScripts } from './harness/scripts.mjs';
import { checkShell, commands } from './harness/shell.mjs';

const PYTHON = process.env.PYTHON ?? 'python3';
const folder = mkdtempSync(join(tmpdir(), 'fedra-docs-'));
makeFiles(folder);
after(() => rmSync(folder, { recursive: true }));

const all = pages.flatMap(({ blocks }) => blocks);
/** Blocks that a marker leaves to another check. */
const elsewhere = all.filter((block) => ['unchecked', 'checked by', 'from'].some((kind) => marked(block, kind)));
const here = all.filter((block) => !elsewhere.includes(block));
const of = (...languages) => here.filter(({ language }) => languages.includes(language));

/** Calls `check` with each block; fails with all problems at once. */
async function each(blocks, check) {
  const problems = [];
  for (const block of blocks) {
    const problem = await check(block);
    if (problem) problems.push(`${place(block)}: ${problem}`);
  }
  assert.deepEqual(problems, []);
}

/** A check by a function that throws. */
const parses = (parse) => (block) => {
  try {
    parse(block.text);
  } catch (error) {
    return error.message;
  }
};

describe('blocks of code', { concurrency: false }, () => {
  test('every block is of a language that is checked', () => {
    const known = ['', 'text', 'toml', 'sh', 'js', 'ts', 'html', 'json', 'yaml', 'ini', 'csv', 'python'];
    const others = here.filter(({ language }) => !known.includes(language));
    assert.deepEqual(
      others.map((block) => `${place(block)}: mark a block of ${block.language}, or check it here`),
      [],
    );
  });

  test('configs are sound', async () => await each(of('toml'), (block) => checkToml(block, folder)));

  test('scripts of the shell are sound, and commands and options of the project exist', async () => await each(of('sh'), checkShell));

  test('JavaScript and TypeScript fit the types of the package', () => {
    assert.deepEqual(checkScripts(of('js', 'ts', 'html'), join(folder, 'scripts')), []);
  });

  test('Python compiles', (t) => {
    const compile = 'import json, sys\nfor place, text in json.load(sys.stdin): compile(text, place, "exec")';
    if (spawnSync(PYTHON, ['-c', '']).status !== 0) return t.skip(`no ${PYTHON}`);
    const input = JSON.stringify(of('python').map((block) => [place(block), block.text]));
    const { status, stderr } = spawnSync(PYTHON, ['-c', compile], { input, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });

  test('JSON, YAML, INI and CSV are well formed', async () => {
    await each(of('json'), parses(JSON.parse));
    await each(of('yaml'), parses(parseYaml));
    await each(of('ini'), ({ text }) =>
      text
        .trim()
        .split('\n')
        .find((line) => !/^(\[\w+\]|\w+=.*|)$/.test(line)),
    );
    await each(of('csv'), ({ text }) => {
      const widths = new Set(
        text
          .trim()
          .split('\n')
          .map((line) => line.split(',').length),
      );
      return widths.size === 1 ? undefined : 'rows differ in their number of values';
    });
  });

  test('a command that is shown with its output prints that', async () => {
    const sessions = of('text', '').filter(({ text }) => text.startsWith('$ '));
    await each(sessions, async ({ text }) => {
      const [line, ...output] = text.split('\n');
      const [[name, ...options]] = commands(line.slice(2));
      const found = await printed(name, options);
      return found.trim() === output.join('\n').trim() ? undefined : `it prints\n${found}`;
    });
  });

  test('excerpts stand in the files that they are from', async () => {
    await each(
      all.filter((block) => marked(block, 'from')),
      (block) => {
        const file = marked(block, 'from');
        if (!existsSync(join(ROOT, file))) return `there is no ${file}`;
        const flat = (text) => text.replace(/\s+/g, ' ').trim();
        const source = flat(readFileSync(join(ROOT, file), 'utf8'));
        const parts = block.text.split(/^ *\/\/ \.\.\.$/m).map(flat);
        const missing = parts.find((part) => !source.includes(part));
        return missing && `not in ${file}: ${missing}`;
      },
    );
  });

  test('a block that another test checks is named there', async () => {
    await each(
      all.filter((block) => marked(block, 'checked by')),
      (block) => {
        const file = marked(block, 'checked by');
        if (!existsSync(join(ROOT, file))) return `there is no ${file}`;
        const page = block.file.split('/').at(-1);
        return readFileSync(join(ROOT, file), 'utf8').includes(page) ? undefined : `${file} does not name ${page}`;
      },
    );
  });

  test('a block that is not checked says why', (t) => {
    const unchecked = all.filter((block) => marked(block, 'unchecked'));
    t.diagnostic(`${all.length} blocks, ${of('', 'text').length} of them without code, ${unchecked.length} unchecked`);
    for (const block of unchecked) t.diagnostic(`${place(block)}: ${marked(block, 'unchecked')}`);
  });
});
