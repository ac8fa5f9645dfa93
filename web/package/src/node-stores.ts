/**
 * The places of a client in Node.js: files in a folder that the caller names. It must not make
 * one up: without a folder nothing is stored, and a private round is not taken part in.
 *
 * A file is written beside the one that it replaces, brought to the disk, and put in its place:
 * a crash leaves the earlier or the later one.
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { FedraError, wordsOf } from './errors.js';
import type { KeptEntry } from './kept-files.js';
import type { Changing, OwnedBytes, Places, Texts, Values } from './stores.js';

const NO_FOLDER = "there is no folder to store anything in: name one with the option storage, for example storage: './fedra-state'";

/** Makes the folder, if it is not there. Throws `no-storage`. */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new FedraError('no-storage', `the folder of the option storage cannot be used: ${wordsOf(cause)}`, { cause });
  }
}

/** The places of a client whose files are in `folder`. `owner` names this process to {@link OwnedBytes.lock}. */
export function placesIn(folder: string | undefined, owner: string): Places {
  if (folder === undefined) return NOWHERE;
  return {
    name: `${folder} `,
    texts: new TextFiles(folder),
    files: new KeptInFolder(folder),
    residuals: new OwnedFiles(folder, owner),
    consents: new InFolder(folder, 'consent'),
    sent: new InFolder(folder, 'sent'),
  };
}

/** Gives back what a thread has locked, once it has ended. */
export function unlock(folder: string, owner: string): void {
  try {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (name.endsWith('.lock') && read(path)?.toString() === owner) rmSync(path, { force: true });
    }
  } catch {
    // Without the folder there is no lock.
  }
}

const refused = () => Promise.reject(new FedraError('no-storage', NO_FOLDER));
const NOWHERE: Places = {
  name: '',
  texts: {
    getItem: () => null,
    setItem: () => {
      throw new Error(NO_FOLDER);
    },
  },
  files: { get: refused, put: refused, delete: refused },
  residuals: { get: refused, put: refused, delete: () => Promise.resolve(), lock: () => Promise.resolve(false) },
  consents: { get: refused, put: refused, delete: refused },
  sent: { get: refused, put: refused, delete: refused, change: refused },
};

/** Counts of rounds: texts of JSON. */
class TextFiles implements Texts {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  getItem(key: string): string | null {
    return read(this.#path(key))?.toString() ?? null;
  }

  setItem(key: string, text: string): void {
    write(this.#path(key), Buffer.from(text));
  }

  #path(key: string): string {
    return pathOf(this.#folder, 'participation', key, 'json');
  }
}

/** Values of one kind, a file for each. */
class InFolder<Value> implements Changing<Value> {
  readonly #folder: string;
  readonly #kind: string;

  constructor(folder: string, kind: string) {
    this.#folder = folder;
    this.#kind = kind;
  }

  async get(key: string): Promise<Value | undefined> {
    const bytes = read(this.#path(key));
    return bytes && (deserialize(bytes) as Value);
  }

  async put(value: Value, key: string): Promise<void> {
    write(this.#path(key), serialize(value));
  }

  async delete(key: string): Promise<void> {
    rmSync(this.#path(key), { force: true });
  }

  async change(key: string, change: (before: Value | undefined) => Value): Promise<void> {
    const bytes = read(this.#path(key));
    write(this.#path(key), serialize(change(bytes && (deserialize(bytes) as Value))));
  }

  #path(key: string): string {
    return pathOf(this.#folder, this.#kind, key, 'bin');
  }
}

/** Files that are kept, with the bytes of each `Blob`. */
class KeptInFolder implements Values<KeptEntry> {
  readonly #entries: InFolder<KeptEntry>;

  constructor(folder: string) {
    this.#entries = new InFolder(folder, 'files');
  }

  async get(key: string): Promise<KeptEntry | undefined> {
    const entry = await this.#entries.get(key);
    if (!entry) return undefined;
    const files = entry.files.map((file) => {
      const source: unknown = file.source;
      return source instanceof Uint8Array ? { ...file, source: new Blob([source as Uint8Array<ArrayBuffer>]) } : file;
    });
    return { ...entry, files };
  }

  async put(entry: KeptEntry, key: string): Promise<void> {
    const files = await Promise.all(
      entry.files.map(async (file) => ({
        ...file,
        source: file.source instanceof Blob ? new Uint8Array(await file.source.arrayBuffer()) : file.source,
      })),
    );
    await this.#entries.put({ ...entry, files } as unknown as KeptEntry, key);
  }

  delete(key: string): Promise<void> {
    return this.#entries.delete(key);
  }
}

/** Parts of updates. A lock is a file with its owner's name. */
class OwnedFiles implements OwnedBytes {
  readonly #folder: string;
  readonly #owner: string;

  constructor(folder: string, owner: string) {
    this.#folder = folder;
    this.#owner = owner;
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const bytes = read(this.#path(key));
    return bytes && new Uint8Array(bytes);
  }

  async put(bytes: Uint8Array, key: string): Promise<void> {
    write(this.#path(key), bytes);
  }

  async delete(key: string): Promise<void> {
    rmSync(this.#path(key), { force: true });
  }

  async lock(name: string): Promise<boolean> {
    const path = pathOf(this.#folder, 'residual', name, 'lock');
    const holder = read(path)?.toString();
    if (holder !== undefined && lives(holder, this.#owner)) return false;
    rmSync(path, { force: true });
    try {
      writeFileSync(path, this.#owner, { flag: 'wx' });
      return true;
    } catch {
      // Another process was faster.
      return false;
    }
  }

  #path(key: string): string {
    return pathOf(this.#folder, 'residual', key, 'bin');
  }
}

const PROCESS = randomUUID();

/** A name for a thread of this process, which no thread of a later process with the same number has. */
export function ownerName(): string {
  return `${process.pid} ${PROCESS} ${randomUUID()}`;
}

/** True if the process of a lock's holder is there. The number of this one may have been another's before. */
function lives(holder: string, owner: string): boolean {
  const [number, name] = holder.split(' ');
  const [ownNumber, ownName] = owner.split(' ');
  if (number === ownNumber) return name === ownName;
  try {
    process.kill(Number(number), 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The file of a key, of whose characters a file system may not know all. */
function pathOf(folder: string, kind: string, key: string, ending: string): string {
  return join(folder, `${kind}-${createHash('sha256').update(key).digest('hex').slice(0, 32)}.${ending}`);
}

function read(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
}

function write(path: string, bytes: Uint8Array): void {
  const fresh = `${path}.${randomUUID()}.new`;
  try {
    const file = openSync(fresh, 'wx', 0o600);
    try {
      writeSync(file, bytes);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(fresh, path);
  } catch (cause) {
    rmSync(fresh, { force: true });
    throw cause;
  }
  syncFolder(join(path, '..'));
}

/** Brings the folder's list of names to the disk, where the system can. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
