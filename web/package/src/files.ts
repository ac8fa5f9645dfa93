/**
 * Files and pictures on their way into the module: opened, unpacked and decoded in the
 * worker, a piece at a time. It must not know what their contents mean.
 */
import { FedraError, wordsOf } from './errors.js';
import type { DataReader } from './module.js';
import type { CheckedFile, CheckedFiles, Reading } from './validate.js';
import type { Entry } from './zip.js';
import { entries, unpacked } from './zip.js';

/** Least time between two reports, in milliseconds. */
const REPORT_MS = 200;
/** Longest reading without a turn for other messages, in milliseconds. */
const TURN_MS = 50;
/** Names of the two arrays of an archive. */
const PAIRS = [
  ['features', 'labels'],
  ['x', 'y'],
  ['arr_0', 'arr_1'],
] as const;

/** Reads all files into `reader`. Throws the first mistake, or the signal's reason. */
export async function readFiles(
  reader: DataReader,
  { files }: CheckedFiles,
  signal: AbortSignal,
  report: (reading: Reading) => void,
): Promise<void> {
  // What a packed file holds is known at its end.
  const isPacked = (name: string) => /\.(gz|npz)$/i.test(name);
  const sizes = files.map(({ source, name }) => (source instanceof Blob && !isPacked(name) ? source.size : undefined));
  const total = sizes.includes(undefined) ? undefined : sizes.reduce((sum: number, size) => sum + (size ?? 0), 0);
  let bytes = 0;
  let told = 0;
  const add = (count: number) => {
    signal.throwIfAborted();
    bytes += count;
    const now = performance.now();
    if (now - told < REPORT_MS) return;
    told = now;
    report({ bytes, total, examples: reader.examples });
  };
  report({ bytes, total, examples: 0 });
  for (const file of files) {
    signal.throwIfAborted();
    if (file.label !== undefined) await picture(reader, file, file.label, signal, add);
    else if (file.name.toLowerCase().endsWith('.npz')) await archive(reader, file, signal, add);
    else await whole(reader, file, signal, add);
  }
  report({ bytes, total, examples: reader.examples });
}

async function whole(reader: DataReader, file: CheckedFile, signal: AbortSignal, add: (count: number) => void): Promise<void> {
  reader.open(file.name, file.isLabels);
  const packed = file.name.toLowerCase().endsWith('.gz');
  const stream = await opened(file, signal);
  await pieces(file.name, packed ? stream.pipeThrough(new DecompressionStream('gzip')) : stream, signal, (piece) => {
    reader.push(piece);
    add(piece.length);
  });
  reader.close();
}

/** The features and the labels of a `.npz` file. */
async function archive(reader: DataReader, file: CheckedFile, signal: AbortSignal, add: (count: number) => void): Promise<void> {
  const blob = await fetched(file, signal);
  const found = await entries(file.name, blob);
  const array = (name: string): Entry | undefined => found.find((entry) => entry.name === `${name}.npy`);
  const pair = PAIRS.find((names) => names.every(array));
  if (!pair) {
    const names = found.map(({ name }) => name.replace(/\.npy$/, '')).join(', ');
    throw bad(file.name, `the archive needs the arrays features and labels, or x and y; it has ${names}`);
  }
  for (const [index, name] of pair.entries()) {
    const entry = array(name);
    if (!entry) continue;
    reader.open(`${file.name}/${name}`, index === 1);
    await pieces(file.name, await unpacked(file.name, blob, entry), signal, (piece) => {
      reader.push(piece);
      add(piece.length);
    });
    reader.close();
  }
}

/** Has the browser decode a picture, upright and without a change of its colours. */
async function picture(
  reader: DataReader,
  file: CheckedFile,
  label: string,
  signal: AbortSignal,
  add: (count: number) => void,
): Promise<void> {
  const blob = await fetched(file, signal);
  const pixels = await decoded(file.name, blob);
  reader.picture(file.name, pixels.width, pixels.height, new Uint8Array(pixels.data.buffer), label);
  add(blob.size);
}

async function decoded(name: string, blob: Blob): Promise<ImageData> {
  if (typeof createImageBitmap === 'undefined') {
    throw bad(name, 'pictures are decoded by browsers only: give their values as arrays, channels first');
  }
  try {
    const bitmap = await createImageBitmap(blob, {
      imageOrientation: 'from-image',
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none',
    });
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    if (!context) throw new Error('there is no canvas to draw it on');
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return context.getImageData(0, 0, width, height);
  } catch (cause) {
    throw bad(name, `the picture cannot be decoded: ${wordsOf(cause)}`, cause);
  }
}

/** The bytes of a file, from its start. */
async function opened(file: CheckedFile, signal: AbortSignal): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  if (file.source instanceof Blob) return file.source.stream();
  const { body } = await response(file.name, file.source, signal);
  return body ?? new Blob().stream();
}

/** The whole file. */
async function fetched(file: CheckedFile, signal: AbortSignal): Promise<Blob> {
  if (file.source instanceof Blob) return file.source;
  const answer = await response(file.name, file.source, signal);
  try {
    return await answer.blob();
  } catch (cause) {
    signal.throwIfAborted();
    throw bad(file.name, `cannot be read: ${wordsOf(cause)}`, cause);
  }
}

async function response(name: string, url: string, signal: AbortSignal): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, { signal });
  } catch (cause) {
    signal.throwIfAborted();
    throw bad(name, `cannot be fetched: ${wordsOf(cause)}`, cause);
  }
  if (!answer.ok) throw bad(name, `cannot be fetched: the server answers ${answer.status}`);
  return answer;
}

/** Hands on each piece of a stream. A stream that fails is damaged or gone; a piece that is refused says why itself. */
async function pieces(
  name: string,
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  signal: AbortSignal,
  take: (piece: Uint8Array<ArrayBuffer>) => void,
): Promise<void> {
  const source = stream.getReader();
  const next = async () => {
    try {
      return await source.read();
    } catch (cause) {
      signal.throwIfAborted();
      throw bad(name, `cannot be read: ${wordsOf(cause)}`, cause);
    }
  };
  let begun = performance.now();
  try {
    for (let read = await next(); !read.done; read = await next()) {
      take(read.value);
      if (performance.now() - begun < TURN_MS) continue;
      // The pieces of a file on this machine follow one another without a turn in between: an
      // abort would wait for the end of the file, and so would the round.
      await new Promise((resolve) => setTimeout(resolve));
      begun = performance.now();
    }
  } catch (error) {
    // What is left of the file is of no use.
    await source.cancel().catch(() => {});
    throw error;
  }
}

function bad(name: string, problem: string, cause?: unknown): FedraError {
  return new FedraError('bad-dataset', `${name}: ${problem}`, { cause });
}
