/**
 * Part of a client's updates that a sparse codec has not sent yet, kept for the next visit: one entry for each task of an aggregator, of at most 64 MiB. It must not touch
 * storage before the module asks, which it does in a task with such a codec.
 *
 * The module says when to store, and an update's last bytes wait for it. Where an entry cannot
 * be stored the earlier one is removed: it would be sent a second time. Of several clients of a
 * task in one browser the first one has the entry. The others, and those without storage or
 * locks, have the rest in memory.
 */
import type { OwnedBytes } from './stores.js';

const MOST_BYTES = 64 * 2 ** 20;

/** The entry of one task. */
export class ResidualEntry {
  readonly #key: string;
  readonly #store: OwnedBytes;
  #loading: Promise<Uint8Array | undefined> | undefined;
  #isOurs = false;
  /** The newest change. */
  #changed: Promise<void> = Promise.resolve();

  /** `socket` is the aggregator's. */
  constructor(socket: string, task: string, store: OwnedBytes) {
    this.#key = `${socket}#${task}`;
    this.#store = store;
  }

  /** The bytes that were kept last, if there are some that this client may go on from. */
  load(): Promise<Uint8Array | undefined> {
    this.#loading ??= this.#load();
    return this.#loading;
  }

  /** Keeps bytes in place of earlier ones, after all changes before. */
  keep(bytes: Uint8Array): Promise<void> {
    this.#changed = this.#changed.then(() => this.#keep(bytes));
    return this.#changed;
  }

  /** Removes the entry. Rejects where storage cannot be used. */
  async forget(): Promise<void> {
    await this.#store.delete(this.#key);
  }

  async #load(): Promise<Uint8Array | undefined> {
    this.#isOurs = await this.#store.lock(`fedra-residual:${this.#key}`);
    if (!this.#isOurs) return undefined;
    try {
      return await this.#store.get(this.#key);
    } catch {
      return undefined;
    }
  }

  async #keep(bytes: Uint8Array): Promise<void> {
    if (!this.#isOurs) return;
    try {
      if (bytes.length > MOST_BYTES) await this.forget();
      else await this.#store.put(bytes, this.#key);
    } catch {
      // A browser without storage has no earlier entry either.
      await this.forget().catch(() => undefined);
    }
  }
}
