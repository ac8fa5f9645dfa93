/**
 * Entries of a ZIP archive in a blob (APPNOTE 6.3, without encryption, ZIP64 and
 * archives of several parts), unpacked by the browser.
 */
import { FedraError } from './errors.js';

/** File in an archive. */
export interface Entry {
  readonly name: string;
  /** 0: stored, 8: deflated. */
  readonly method: number;
  /** Bytes in the archive. */
  readonly packed: number;
  /** Place of its local header. */
  readonly offset: number;
}

const END = 0x06054b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
/** Bytes of the end record without its comment, and the longest comment. */
const END_BYTES = 22;
const MOST_COMMENT = 0xffff;

/** The files of an archive. */
export async function entries(file: string, blob: Blob): Promise<Entry[]> {
  const tail = await view(blob, Math.max(0, blob.size - END_BYTES - MOST_COMMENT), blob.size);
  let end = tail.byteLength - END_BYTES;
  while (end >= 0 && tail.getUint32(end, true) !== END) end--;
  if (end < 0) throw damaged(file);
  const [count, size, start] = [tail.getUint16(end + 10, true), tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  const directory = await view(blob, start, start + size);
  const found: Entry[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (at + 46 > directory.byteLength || directory.getUint32(at, true) !== CENTRAL) throw damaged(file);
    const [name, extra, comment] = [28, 30, 32].map((field) => directory.getUint16(at + field, true)) as [number, number, number];
    if (at + 46 + name > directory.byteLength) throw damaged(file);
    found.push({
      name: new TextDecoder().decode(new Uint8Array(directory.buffer, at + 46, name)),
      method: directory.getUint16(at + 10, true),
      packed: directory.getUint32(at + 20, true),
      offset: directory.getUint32(at + 42, true),
    });
    at += 46 + name + extra + comment;
  }
  return found;
}

/** The bytes of a file. */
export async function unpacked(file: string, blob: Blob, entry: Entry): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const header = await view(blob, entry.offset, entry.offset + 30);
  if (header.byteLength < 30 || header.getUint32(0, true) !== LOCAL) throw damaged(file);
  const start = entry.offset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
  const stream = blob.slice(start, start + entry.packed).stream();
  if (entry.method === 0) return stream;
  if (entry.method === 8) return stream.pipeThrough(new DecompressionStream('deflate-raw'));
  throw new FedraError('bad-dataset', `${file}: ${entry.name} is packed by method ${entry.method}; save it with numpy.savez`);
}

async function view(blob: Blob, start: number, end: number): Promise<DataView<ArrayBuffer>> {
  return new DataView(await blob.slice(start, end).arrayBuffer());
}

function damaged(file: string): FedraError {
  return new FedraError('bad-dataset', `${file}: it is no ZIP archive, or a damaged one`);
}
