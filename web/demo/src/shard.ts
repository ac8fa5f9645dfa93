/**
 * The digits this tab trains on: a shard file of `scripts/make-shards.mjs`.
 * Parsing is pure; only `fetchShard` reads the network.
 */

export interface Shard {
  readonly index: number;
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
  readonly classes: number;
  /** `count * rows * columns` grey values, 0 (paper) to 255 (ink). */
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

export class ShardError extends Error {}

const MAGIC = 'FDS1';
const HEADER_BYTES = 20;

/** Reads a shard, at most `limit` examples of it. */
export function parseShard(bytes: ArrayBuffer, index: number, limit?: number): Shard {
  if (bytes.byteLength < HEADER_BYTES) throw new ShardError('the file is too short to be a shard');
  const magic = String.fromCharCode(...new Uint8Array(bytes, 0, MAGIC.length));
  if (magic !== MAGIC) throw new ShardError(`the file does not begin with ${MAGIC}`);
  const view = new DataView(bytes);
  const [all, rows, columns, classes] = [4, 8, 12, 16].map((offset) => view.getUint32(offset, true)) as [number, number, number, number];
  const size = rows * columns;
  if (all === 0 || size === 0) throw new ShardError('the shard is empty');
  const expected = HEADER_BYTES + all * size + all;
  if (bytes.byteLength !== expected) {
    throw new ShardError(`the file has ${bytes.byteLength} bytes where its header promises ${expected}`);
  }
  const count = Math.min(all, limit ?? all);
  const labels = new Uint8Array(bytes, HEADER_BYTES + all * size, count);
  const wrong = labels.find((label) => label >= classes);
  if (wrong !== undefined) throw new ShardError(`label ${wrong} is not one of ${classes} classes`);
  return { index, count, rows, columns, classes, pixels: new Uint8Array(bytes, HEADER_BYTES, count * size), labels };
}

/** Grey values as the model takes them, 0 to 1. */
export function toFeatures(pixels: Uint8Array): Float32Array {
  // A plain loop: Float32Array.from with a function takes several times as long.
  const features = new Float32Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) features[i] = (pixels[i] ?? 0) / 255;
  return features;
}

/** One example's grey values. */
export function example(shard: Shard, index: number): Uint8Array {
  const size = shard.rows * shard.columns;
  return shard.pixels.subarray(index * size, (index + 1) * size);
}

/** Downloads one shard; without an index, one by chance. */
export async function fetchShard(base: string, wanted?: number, limit?: number): Promise<Shard> {
  const manifest = (await (await get(`${base}manifest.json`)).json()) as { shards?: { file: string }[] };
  const count = manifest.shards?.length ?? 0;
  const index = wanted ?? Math.floor(Math.random() * count);
  const file = manifest.shards?.[index]?.file;
  if (!file) throw new ShardError(`there is no shard ${index}; the page has ${count}, counted from 0`);
  return parseShard(await (await get(base + file)).arrayBuffer(), index, limit);
}

async function get(url: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new ShardError(`${url} could not be downloaded`);
  }
  if (!response.ok) throw new ShardError(`${url} could not be downloaded (${response.status})`);
  // A server that answers every path with the page would otherwise look like data.
  if (response.headers.get('content-type')?.includes('text/html')) throw new ShardError(`${url} is not there`);
  return response;
}
