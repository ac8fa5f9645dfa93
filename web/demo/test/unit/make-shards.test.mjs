import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseShard } from '../../../node_modules/.cache/fedra-demo/shard.js';

let folder;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'fedra-shards-'));
  execFileSync(process.execPath, [fileURLToPath(new URL('../../scripts/make-shards.mjs', import.meta.url)), folder]);
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('the shards are what the page reads: 100 times 600 digits, classes mixed', () => {
  const { shards } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
  assert.equal(shards.length, 100);
  const totals = new Array(10).fill(0);
  shards.forEach(({ file, sha256 }, index) => {
    const bytes = readFileSync(join(folder, file));
    assert.equal(createHash('sha256').update(bytes).digest('hex'), sha256);
    const shard = parseShard(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), index);
    assert.deepEqual([shard.count, shard.rows, shard.columns, shard.classes], [600, 28, 28, 10]);
    const classes = new Array(10).fill(0);
    shard.labels.forEach((label) => classes[label]++);
    assert.ok(Math.min(...classes) >= 25, `${file}: ${classes}`);
    classes.forEach((count, label) => (totals[label] += count));
  });
  // MNIST's own class counts: nothing was lost or doubled.
  assert.deepEqual(totals, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
});
