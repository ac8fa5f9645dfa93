/** Places that outlive a client, which a browser and Node.js have in different forms. Types only. */
import type { KeptEntry } from './kept-files.js';

/** Short texts by key, read and written at once. Throws where it cannot be used. */
export interface Texts {
  getItem(key: string): string | null;
  setItem(key: string, text: string): void;
}

/** Values by key. A change is on the disk once its promise is resolved; where it fails the earlier value stays. */
export interface Values<Value> {
  get(key: string): Promise<Value | undefined>;
  put(value: Value, key: string): Promise<void>;
  delete(key: string): Promise<void>;
}

/** Bytes that one client at a time goes on from. */
export interface OwnedBytes extends Values<Uint8Array> {
  /** Takes a name until this thread ends; false where another has it, or nothing can be locked. */
  lock(name: string): Promise<boolean>;
}

/** The places of a client outside its worker. */
export interface Places {
  /** Counts of rounds. */
  readonly texts: Texts;
  /** Files that are kept. */
  readonly files: Values<KeptEntry>;
  /** Parts of updates that have not been sent. */
  readonly residuals: OwnedBytes;
}
