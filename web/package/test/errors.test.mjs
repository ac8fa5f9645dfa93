// Codes and remedies: in the sources, at run time and in the readme.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FedraClient, FedraError } from '../dist/index.js';
import { REMEDIES } from '../dist/remedies.js';
import { FakeWorker } from './fake-worker.mjs';

const text = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');

/** The names of a union of strings in a source. */
function union(source, name) {
  const bare = source.replace(/\/\*[\s\S]*?\*\//g, '');
  const [, body] = new RegExp(`export type ${name} =([^;]*);`).exec(bare) ?? [];
  assert.ok(body, name);
  return [...body.matchAll(/'([a-z-]+)'/g)].map(([, code]) => code);
}

test('every code of the sources has a remedy, and no other', () => {
  const contract = text('../src/generated/contract.ts');
  const codes = new Set([
    ...union(text('../src/errors.ts'), 'PackageCode'),
    ...['Failure', 'Notice', 'CallFault'].flatMap((name) => union(contract, name)),
    ...union(contract, 'RefusalCode').map((code) => `refused-${code}`),
  ]);
  assert.deepEqual(Object.keys(REMEDIES).sort(), [...codes].sort());
});

test('a remedy is one sentence', () => {
  for (const [code, remedy] of Object.entries(REMEDIES)) {
    assert.match(remedy, /^[A-Z].*\.$/, code);
    assert.doesNotMatch(remedy, /\. [A-Z].*\. /, code);
  }
});

test('the readme has the table of codes as the source has it', () => {
  const [, table] = text('../README.md').split('\n## Errors\n');
  const rows = [...table.split('\n## ')[0].matchAll(/^\| `([a-z-]+)` +\| (.*?) +\|$/gm)].map(([, code, remedy]) => [code, remedy]);
  assert.deepEqual(rows, Object.entries(REMEDIES));
});

test('errors and error events have their code’s remedy', async () => {
  assert.equal(new FedraError('no-model', 'none yet').remedy, REMEDIES['no-model']);
  const restore = FakeWorker.install();
  try {
    const client = await FedraClient.connect({ url: 'wss://example.org', task: 'digits' });
    const told = new Promise((resolve) => client.addEventListener('error', ({ detail }) => resolve(detail)));
    FakeWorker.last.say({ type: 'event', event: { type: 'error', code: 'no-server', message: 'nobody answers', fatal: false } });
    assert.equal((await told).remedy, REMEDIES['no-server']);
  } finally {
    restore();
  }
});
