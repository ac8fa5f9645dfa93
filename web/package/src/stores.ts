/** Places that outlive a client, which a browser and Node.js have in different forms. Types only. */
import type { ConsentRecord } from './consent.js';
import type { KeptEntry } from './kept-files.js';
import type { Sent } from './sent.js';

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

/** Values that are made of the earlier ones. */
export interface Changing<Value> extends Values<Value> {
  /** Replaces a value by the one that `change` makes of it. No other change of this process comes between. */
  change(key: string, change: (before: Value | undefined) => Value): Promise<void>;
}

/** Bytes that one client at a time goes on from. */
export interface OwnedBytes extends Values<Uint8Array> {
  /** Takes a name until this thread ends; false where another has it, or nothing can be locked. */
  lock(name: string): Promise<boolean>;
}

/** The places of a client outside its worker. */
export interface Places {
  /** Tells these places from others that a client of the same program may have. */
  readonly name: string;
  /** Counts of rounds. */
  readonly texts: Texts;
  /** Files that are kept. */
  readonly files: Values<KeptEntry>;
  /** Parts of updates that have not been sent. */
  readonly residuals: OwnedBytes;
  /** Consents of persons. */
  readonly consents: Values<ConsentRecord>;
  /** Logs of what was sent. */
  readonly sent: Changing<Sent>;
}
