/** The five minutes of an operator, docs/start/operate.md: its files and commands, in their order, in one folder. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { freePort, newFolder, Program, removeFolder } from '../../../wasm-tests/e2e/harness/programs.mjs';
import { until } from '../../../wasm-tests/e2e/harness/until.mjs';
import { pages } from './harness/pages.mjs';
import { environment, program } from './harness/programs.mjs';

const ADDRESS = '127.0.0.1:8080';
const folder = newFolder();
const at = (name) => join(folder, name);
let server;
after(async () => {
  await server?.end();
  removeFolder(folder);
});

test('a task is checked, served, trained by two clients, and its model exported', { timeout: 120_000 }, async () => {
  const address = `127.0.0.1:${await freePort()}`;
  const { blocks } = pages.find(({ file }) => file === 'docs/start/operate.md');
  const texts = (language) => blocks.filter((block) => block.language === language).map(({ text }) => text.replaceAll(ADDRESS, address));
  const [config] = texts('toml');
  const [rows] = texts('csv');
  const [, copy, start, clients, look] = texts('sh');
  writeFileSync(at('fedra.toml'), config);
  writeFileSync(at('one.csv'), rows);

  const path = [dirname(program('fedra-edge')), process.env.PATH].join(delimiter);
  const env = { ...environment, PATH: path, FEDRA_SERVER_URL: `http://${address}` };
  const shell = async (script) => (await promisify(execFile)('bash', ['-euc', script], { cwd: folder, env })).stdout;

  await shell(copy);
  const [serve, ...before] = start.trim().split('\n').reverse();
  assert.match(await shell(before.reverse().join('\n')), /sample: 8 examples of the shape \[2\]/);
  server = new Program('bash', ['-c', `cd "$0" && PATH="$1" exec ${serve}`, folder, path], at('server.log'));
  await until('the server is ready', async () => {
    assert.ok(server.isRunning, server.lastLines());
    return await shell('fedra-aggregator ready').then(
      () => true,
      () => false,
    );
  });
  await shell(clients);
  assert.match(await shell(look), /flowers +finished/);
  assert.ok(existsSync(at('flowers.onnx')));
});
