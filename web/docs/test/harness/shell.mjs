/** Blocks of shell: their syntax, and each command of the project held to the help of its program. */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ROOT } from './pages.mjs';
import { help, packages } from './programs.mjs';

const PROGRAMS = ['fedra-aggregator', 'fedra-edge', 'fedra-simulate'];
/** Commands of `cargo xtask` that hand their options on to a program that is not built for this. */
const HANDED_ON = ['bench', 'chaos', 'load', 'hostile'];
/** Words before a command. */
const BEFORE = /^(?:[A-Za-z_]\w*=.*|if|then|else|do|while|until|!|\(|\{|exec|sudo|time|nohup)$/;

/** Finds what is wrong with a block of shell; undefined if nothing is. */
export async function checkShell({ text }) {
  const parsed = spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' });
  if (parsed.error) return parsed.error.message;
  if (parsed.status !== 0) return parsed.stderr;
  for (const words of commands(text)) {
    const problem = await checkCommand(words);
    if (problem) return `${words.join(' ')}: ${problem}`;
  }
}

/** The simple commands of a script, as words. */
export function commands(text) {
  const found = [[]];
  const piece = /\\\n|#[^\n]*|\n|&&|\|\||[;|&()]|\$\(|"((?:[^"\\]|\\.)*)"|'([^']*)'|[^\s;|&()"'#\\]+|\\.|#/gs;
  let end = -1;
  for (const match of text.matchAll(piece)) {
    const [whole, double, single] = match;
    const joined = match.index === end && end > 0;
    if (whole === '\\\n') continue;
    if (whole.startsWith('#') && !joined) continue;
    if (/^(\n|&&|\|\||[;|&()]|\$\()$/.test(whole)) {
      found.push([]);
      continue;
    }
    const word = double ?? single ?? whole;
    const words = found.at(-1);
    if (joined && words.length > 0) words[words.length - 1] += word;
    else words.push(word);
    end = match.index + whole.length;
  }
  return found.map(stripped).filter((words) => words.length > 0);
}

/** Words of a command without those before it and without redirections. */
function stripped(words) {
  const rest = [...words];
  while (rest.length > 0 && BEFORE.test(rest[0])) rest.shift();
  const kept = [];
  for (let index = 0; index < rest.length; index++) {
    if (/^\d*[<>]+$/.test(rest[index])) index++;
    else if (!/^\d*[<>]/.test(rest[index])) kept.push(rest[index]);
  }
  return kept;
}

async function checkCommand(words) {
  const [first, ...rest] = words;
  const name = basename(first);
  if (PROGRAMS.includes(name)) return await checkOptions(name, rest);
  if (name === 'cargo') return await checkCargo(rest);
  if (name === 'npm') return checkNpm(rest);
  if (name === 'cp') {
    const missing = rest
      .slice(0, -1)
      .find((path) => /^(aggregator|deploy|examples|docs|web)\//.test(path) && !existsSync(join(ROOT, path)));
    if (missing) return `there is no ${missing}`;
  }
  // A program of the project that another one starts, with a command after it.
  const inner = words.findIndex((word) => PROGRAMS.includes(basename(word)));
  if (inner > 0) {
    const { commands } = await help(basename(words[inner]));
    if (commands.includes(words[inner + 1])) return await checkOptions(basename(words[inner]), words.slice(inner + 1));
  }
}

/** Holds words to the help of a program and of its commands. */
async function checkOptions(name, words) {
  const path = [];
  let { commands, options, positional } = await help(name);
  for (let index = 0; index < words.length; index++) {
    const [word, value] = words[index].split(/=(.*)/s);
    if (word === '--') return;
    if (commands.includes(word)) {
      path.push(word);
      ({ commands, options, positional } = await help(name, path));
    } else if (word.startsWith('-') && word.length > 1) {
      if (!options.has(word)) return `${[name, ...path].join(' ')} has no ${word}`;
      if (options.get(word) && value === undefined) {
        index++;
        if (index >= words.length) return `${word} wants a value`;
      }
    } else if (!positional) {
      return `${[name, ...path].join(' ')} does not take ${word}`;
    }
  }
}

async function checkCargo(words) {
  const [command, ...rest] = words;
  if (command === 'xtask') {
    const handedOn = HANDED_ON.includes(rest[0]);
    return await checkOptions('xtask', handedOn ? rest.slice(0, 1) : rest);
  }
  const end = rest.indexOf('--');
  const own = end < 0 ? rest : rest.slice(0, end);
  const known = await packages;
  const chosen = own.flatMap((word, index) => (own[index - 1] === '-p' || own[index - 1] === '--package' ? [word] : []));
  for (const name of chosen) if (!known.has(name)) return `there is no package ${name}`;
  if (command === 'run' && end >= 0) {
    const bin = own.includes('--bin') ? own[own.indexOf('--bin') + 1] : known.get(chosen[0])?.[0];
    if (PROGRAMS.includes(bin)) return await checkOptions(bin, rest.slice(end + 1));
  }
}

/** `npm run NAME` names a script of one of the projects. */
function checkNpm([command, name]) {
  if (command !== 'run') return;
  const scripts = ['web', 'web/package', 'web/demo', 'web/docs', 'web/lint'].flatMap((folder) => {
    const file = join(ROOT, folder, 'package.json');
    return existsSync(file) ? Object.keys(JSON.parse(readFileSync(file, 'utf8')).scripts ?? {}) : [];
  });
  if (!scripts.includes(name)) return `there is no script ${name}`;
}
