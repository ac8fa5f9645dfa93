/**
 * Files that a page keeps for its next visit: one set for each
 * task of an aggregator. It must not store anything that it was not asked to, nor send
 * anything.
 *
 * A set is stored or removed in one transaction. Where that fails, the earlier set stays.
 */
import { FedraError, notStored, wordsOf } from './errors.js';
import type { ResidualEntry } from './residual.js';
import type { Values } from './stores.js';
import type { CheckedFile, ReadingOptions } from './validate.js';

/** Files that are kept in this browser. */
export interface Kept {
  /** Bytes of the files. Of an address only the address is kept. */
  readonly bytes: number;
  /** Number of files. */
  readonly files: number;
  /** Time at which they were kept. */
  readonly since: Date;
}

/** Files as a page gave them, and its choices for their reading. */
export interface KeptEntry {
  readonly files: readonly CheckedFile[];
  readonly options: ReadingOptions;
  readonly since: Date;
}

/** The files of one task. */
export class KeptFiles {
  readonly #key: string;
  readonly #store: Values<KeptEntry>;
  readonly #residual: ResidualEntry;

  /** `socket` is the aggregator's. */
  constructor(socket: string, task: string, store: Values<KeptEntry>, residual: ResidualEntry) {
    this.#key = `${socket}#${task}`;
    this.#store = store;
    this.#residual = residual;
  }

  /** Keeps files in place of earlier ones. Rejects with `bad-dataset`, `storage-full` or `no-storage`. */
  async keep(files: readonly CheckedFile[], options: ReadingOptions): Promise<Kept> {
    for (const file of files) await checkReadable(file);
    const entry: KeptEntry = { files, options, since: new Date() };
    await stored(this.#store.put(entry, this.#key));
    return summary(entry);
  }

  /** The files, if there are any. Rejects with `no-storage`. */
  entry(): Promise<KeptEntry | undefined> {
    return stored(this.#store.get(this.#key));
  }

  /** Size and age of the files, if there are any. Rejects with `no-storage`. */
  async kept(): Promise<Kept | null> {
    const entry = await this.entry();
    return entry ? summary(entry) : null;
  }

  /** Removes the files, and what is kept of the task's updates. Rejects with `no-storage`. */
  async forget(): Promise<void> {
    await stored(this.#store.delete(this.#key));
    await stored(this.#residual.forget());
  }
}

function summary({ files, since }: KeptEntry): Kept {
  const bytes = files.reduce((sum, { source }) => sum + (source instanceof Blob ? source.size : 0), 0);
  return { bytes, files: files.length, since };
}

/** Refuses a file that has changed or gone since it was chosen: storage does not say which one it was. */
async function checkReadable({ source, name }: CheckedFile): Promise<void> {
  if (!(source instanceof Blob)) return;
  try {
    await source.slice(0, 1).arrayBuffer();
  } catch (cause) {
    throw new FedraError('bad-dataset', `${name}: cannot be read (${wordsOf(cause)}); choose the file again`, { cause });
  }
}

/** The result of a change or a look, or what the page is told where it failed. */
async function stored<Result>(change: Promise<Result>): Promise<Result> {
  try {
    return await change;
  } catch (cause) {
    throw refusal(cause);
  }
}

function refusal(cause: unknown): FedraError {
  if (cause instanceof DOMException && cause.name === 'QuotaExceededError') {
    return new FedraError('storage-full', 'this browser has no room for the files; free some on the device, or keep fewer', { cause });
  }
  return notStored("this browser's storage cannot be used", cause);
}
