import assert from 'node:assert/strict';
import { test } from 'node:test';
import { example, parseShard, ShardError, toFeatures } from '../../../node_modules/.cache/fedra-demo/shard.js';

/** Two examples of 1 x 3 pixels. */
function bytes({ magic = 'FDS1', count = 2, labels = [3, 9], extra = 0 } = {}) {
  const body = [0, 128, 255, 1, 2, 3, ...labels, ...new Array(extra).fill(0)];
  const buffer = new ArrayBuffer(20 + body.length);
  const view = new DataView(buffer);
  [...magic].forEach((letter, index) => view.setUint8(index, letter.charCodeAt(0)));
  [count, 1, 3, 10].forEach((value, index) => view.setUint32(4 + 4 * index, value, true));
  new Uint8Array(buffer, 20).set(body);
  return buffer;
}

test('a shard is read as it was written', () => {
  const shard = parseShard(bytes(), 7);
  assert.deepEqual(
    { ...shard, pixels: [...shard.pixels], labels: [...shard.labels] },
    {
      index: 7,
      count: 2,
      rows: 1,
      columns: 3,
      classes: 10,
      pixels: [0, 128, 255, 1, 2, 3],
      labels: [3, 9],
    },
  );
  assert.deepEqual([...example(shard, 1)], [1, 2, 3]);
  assert.deepEqual(toFeatures(example(shard, 0)), Float32Array.of(0, 128 / 255, 1));
});

test('a limit keeps the first examples with their own labels', () => {
  const shard = parseShard(bytes(), 0, 1);
  assert.equal(shard.count, 1);
  assert.equal(shard.pixels.length, 3);
  assert.deepEqual([...shard.labels], [3]);
});

for (const [name, broken] of Object.entries({
  'an empty file': new ArrayBuffer(0),
  'another magic': bytes({ magic: 'FDS2' }),
  'no examples': bytes({ count: 0 }),
  'too few bytes': bytes().slice(0, -1),
  'leftover bytes': bytes({ extra: 1 }),
  'a count that is too large': bytes({ count: 0xffffffff }),
  'a label out of range': bytes({ labels: [3, 10] }),
})) {
  test(`${name} is refused`, () => assert.throws(() => parseShard(broken, 0), ShardError));
}
