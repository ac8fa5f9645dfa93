/** The checks of blocks themselves: a mistake of each kind is found, and told with its place. */

// cspell:ignore aggregater biuld chekc confg dmeo exmple modl puase runn taskdata

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { slug } from '../slug.mjs';
import { checkToml, makeFiles } from './harness/config.mjs';
import { anchors, links } from './harness/pages.mjs';
import { checkScripts } from './harness/scripts.mjs';
import { checkShell, commands } from './harness/shell.mjs';

const folder = mkdtempSync(join(tmpdir(), 'fedra-docs-'));
makeFiles(folder);
after(() => rmSync(folder, { recursive: true }));

const block = (language, text) => ({ file: 'page.md', line: 7, language, text, markers: [] });

test('commands of a script are told apart, without comments, redirections and what comes before them', () => {
  const script = 'A=1 fedra-edge --url x \\\n  --task "a b" > log & # fedra-edge\nfor f in *; do cargo bench; done | wc -l\n';
  assert.deepEqual(commands(script), [
    ['fedra-edge', '--url', 'x', '--task', 'a b'],
    ['for', 'f', 'in', '*'],
    ['cargo', 'bench'],
    ['done'],
    ['wc', '-l'],
  ]);
});

test('wrong commands are found, right ones pass', async () => {
  const found = [
    ['if true', /syntax error/],
    ['fedra-aggregator chekc --config fedra.toml', /does not take chekc/],
    ['target/release/fedra-aggregator check --confg fedra.toml', /fedra-aggregator check has no --confg/],
    ['docker exec fedra fedra-aggregator store backup --too x', /fedra-aggregator store backup has no --too/],
    ['fedra-edge --url', /--url wants a value/],
    ['cargo xtask dmeo', /does not take dmeo/],
    ['cargo xtask demo --round 3', /xtask demo has no --round/],
    ['cargo build -p fedra-aggregater', /no package fedra-aggregater/],
    ['cargo run -p fedra-experiments -- runn x.toml', /does not take runn/],
    ['npm run biuld', /no script biuld/],
    ['cp aggregator/fedra.exmple.toml fedra.toml', /no aggregator\/fedra.exmple.toml/],
  ];
  for (const [script, problem] of found) assert.match((await checkShell(block('sh', script))) ?? '', problem, script);
  const right = 'cargo xtask demo --rounds 3 --exit\nfedra-aggregator task rollback digits --to 12\ncargo xtask test docs\n';
  assert.equal(await checkShell(block('sh', right)), undefined);
});

test('wrong configs are found', async () => {
  for (const [text, problem] of [
    ['[task.round]\ncohort = 3', /cohort/],
    ['[server]\nlisten = 8080', /server.listen/],
    ['{ type = "conv2", channels = 3 }', /conv2/],
    ['a = ', /Invalid TOML/],
  ]) {
    assert.match((await checkToml(block('toml', text), folder)) ?? '', problem, text);
  }
});

test('wrong names of the package are found with their line', () => {
  const text =
    "import { FedraClient } from 'fedra';\nawait FedraClient.connect({ url, tsk: 'a' });\nclient.addEventListener('modl', ({ detail }) => detail);\nclient.puase();\n";
  const problems = checkScripts(
    [block('js', text), block('js', 'await client.train({ features, labels, shape: [1, 2] });')],
    join(folder, 'scripts'),
  );
  assert.deepEqual(
    problems.map((problem) => problem.split(' of the block')[0]),
    ['page.md:7, line 2', 'page.md:7, line 3', 'page.md:7, line 4'],
    problems.join('\n'),
  );
});

test('anchors are those of GitHub, and code has no links', () => {
  assert.equal(slug('`[task.data]`: how files become examples, optional'), 'taskdata-how-files-become-examples-optional');
  const lines = ['# A b', '## A b', 'See [c](d.md#e) and `[f](g)`.'];
  assert.deepEqual([...anchors({ lines })], ['a-b', 'a-b-1']);
  assert.deepEqual(links({ lines }), [{ href: 'd.md#e', line: 3 }]);
});
