/** Programs of the project: where cargo built them, what they print, and the commands that they take. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from './pages.mjs';

const run = promisify(execFile);
const BUILT = process.env.E2E_PROGRAMS ?? join(ROOT, 'target/debug');
const SUFFIX = process.platform === 'win32' ? '.exe' : '';

/** Path of a program. */
export function program(name) {
  const path = join(BUILT, `${name}${SUFFIX}`);
  if (existsSync(path)) return path;
  throw new Error(`${path} is missing: \`cargo xtask test docs\` builds what these tests need`);
}

/** Environment without settings of the project's programs. */
export const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('FEDRA_')));

/** Runs a program in a folder. Returns what it printed as a mistake, or undefined if it exits with 0. */
export async function outcome(name, options, folder) {
  return await run(program(name), options, { cwd: folder, env: environment }).then(
    () => undefined,
    (error) => error.stderr || error.stdout || error.message,
  );
}

/** Output of a program that exits with 0. */
export async function printed(name, options, folder = ROOT) {
  const { stdout } = await run(program(name), options, { cwd: folder, env: environment });
  return stdout;
}

/** Packages of the workspace with the programs that `cargo run` starts. */
export const packages = (async () => {
  const { stdout } = await run('cargo', ['metadata', '--no-deps', '--offline', '--format-version', '1'], {
    cwd: ROOT,
    maxBuffer: 64 << 20,
  });
  const binaries = ({ targets }) => targets.filter(({ kind }) => kind.includes('bin')).map(({ name }) => name);
  return new Map(JSON.parse(stdout).packages.map((entry) => [entry.name, binaries(entry)]));
})();

const helps = new Map();

/** Help of a program's command: `{ commands, options }`, an option with true if it takes a value. */
export function help(name, path = []) {
  const key = [name, ...path].join(' ');
  if (!helps.has(key)) helps.set(key, printed(name, [...path, '--help']).then(read));
  return helps.get(key);
}

function read(text) {
  const usage = /^Usage: (.*(?:\n {7,}.*)*)/m.exec(text)?.[1] ?? '';
  const section = (title) => new RegExp(`^${title}:\\n((?: .*\\n|\\n(?= ))*)`, 'm').exec(`${text}\n`)?.[1] ?? '';
  const commands = [...section('Commands').matchAll(/^ {2}([a-z][\w-]*)/gm)].map(([, command]) => command);
  const options = new Map();
  for (const [, short, long, value] of text.matchAll(/^ +(?:(-\w), )?(--[a-z][\w-]*)(?:[ =]?(\[?[<=]))?/gm)) {
    for (const option of [short, long]) if (option) options.set(option, Boolean(value));
  }
  return { commands, options, positional: /\s[<[](?!OPTIONS|COMMAND)[A-Z]/.test(usage.replace(/--[\w-]+ <[^>]*>/g, '')) };
}
