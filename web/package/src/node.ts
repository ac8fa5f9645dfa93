/**
 * Fedra in Node.js: the client of the browser, on the CPU, in a thread of `worker_threads`. What
 * outlives it is in a folder that the caller names.
 */
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { FedraClient as BrowserClient } from './client.js';
import type { ConsentRecord } from './consent.js';
import { FedraError } from './errors.js';
import type { BackendChoice } from './events.js';
import type { Kept } from './kept-files.js';
import { Model } from './model.js';
import { makeFolder, ownerName, placesIn } from './node-stores.js';
import { NodeWorker } from './node-thread.js';
import type { LoadOptions as BrowserLoadOptions, ConnectOptions as BrowserOptions } from './options.js';
import type { Sent } from './sent.js';
import type { Places } from './stores.js';
import { consentTo, keptFiles, revoke, sentIn } from './task-entries.js';
import type { Place as BrowserPlace, CheckedOptions, CheckedPlace } from './validate.js';
import { checkConfig, checkLoad, checkPlace } from './validate.js';

export { FedraError } from './errors.js';
export type * from './index.js';

interface Stored {
  /**
   * Folder of what outlives the client: the count of its rounds in a private task, files and a
   * consent that are kept, the log of what was sent, and what a sparse codec has not sent. It is
   * made if it is not there. Without one the client takes no part in private rounds
   * (`participation-not-kept`).
   */
  readonly storage?: string | URL;
}

/** Options of {@link FedraClient.connect}. */
export interface ConnectOptions extends Omit<BrowserOptions, 'worker' | 'backend' | 'tabs' | 'pauses'>, Stored {
  /** Both are the CPU. */
  readonly backend?: Exclude<BackendChoice, 'webgpu'>;
}

/** Options of {@link FedraClient.load}. */
export interface LoadOptions extends Omit<BrowserLoadOptions, 'worker'> {}

/** A task of an aggregator, and the folder of what is kept for it. */
export interface Place extends BrowserPlace, Stored {}

/** One participant in one task, as in a browser. Addresses and files begin from the working folder. */
export class FedraClient extends BrowserClient {
  /**
   * Starts a thread and a session in it, as in a browser. Rejects in the same way, and with
   * `no-storage` where the folder cannot be used.
   */
  static override async connect(options: ConnectOptions): Promise<FedraClient> {
    const { storage, rest } = split('connect', options);
    for (const [name, missing] of Object.entries({ tabs: 'there are no tabs', pauses: 'nothing here tells when to rest: call pause' })) {
      if (name in rest) throw new FedraError('invalid-options', `connect of fedra/node has no ${name}: ${missing}`);
    }
    const { backend = 'cpu' } = rest;
    if (backend === 'webgpu') throw new FedraError('invalid-options', 'backend must be auto or cpu: fedra/node has no WebGPU');
    const folder = checkFolder(storage);
    const checked: CheckedOptions = checkConfig({ ...rest, worker: threads(folder) }, here());
    return FedraClient.open({ ...checked, backend: 'cpu' }, placesIn(folder, ownerName()));
  }

  /** Fetches the newest model of a task to predict with, as in a browser. */
  static override async load(options: LoadOptions): Promise<Model> {
    const { storage, rest } = split('load', options);
    if (storage !== undefined) throw new FedraError('invalid-options', 'load has no storage: it stores nothing');
    return Model.open(checkLoad({ ...rest, worker: threads(undefined) }, here()));
  }

  /** Size and age of the files that the folder `storage` keeps for a task; null if there are none. */
  static override async kept(place: Place): Promise<Kept | null> {
    return keptFiles(...entriesOf('kept', place)).kept();
  }

  /** Removes them, and the part of the task's updates that a sparse codec has not sent. */
  static override async forget(place: Place): Promise<void> {
    return keptFiles(...entriesOf('forget', place)).forget();
  }

  /** The person's consent to a task that the folder `storage` keeps; null if there is none. */
  static override async consent(place: Place): Promise<ConsentRecord | null> {
    return consentTo(...entriesOf('consent', place)).read();
  }

  /**
   * Withdraws it, as in a browser. The clients of this process that have this folder end with
   * `consent-revoked`; one of another process goes on until it connects again.
   */
  static override async revoke(place: Place): Promise<void> {
    return revoke(...entriesOf('revoke', place));
  }

  /** The log of what was sent for a task, as the folder `storage` keeps it. */
  static override async sent(place: Place): Promise<Sent> {
    return sentIn(...entriesOf('sent', place)).read();
  }
}

/** The options without those of Node.js. */
function split(call: string, options: object): { readonly storage: unknown; readonly rest: Record<string, unknown> } {
  const { storage, ...rest } = { ...options } as Record<string, unknown>;
  if ('worker' in rest) throw new FedraError('invalid-options', `${call} of fedra/node has no worker: it makes a thread of its own`);
  return { storage, rest };
}

/** The task of a call without a client, and its places. */
function entriesOf(call: string, place: Place): [CheckedPlace, Places] {
  const { storage, rest } = split(call, place);
  return [checkPlace(call, rest, here()), placesIn(checkFolder(storage), ownerName())];
}

function checkFolder(storage: unknown): string | undefined {
  if (storage === undefined) return undefined;
  let folder: string | undefined;
  if (typeof storage === 'string' && storage.length > 0) folder = resolve(storage);
  if (storage instanceof URL && storage.protocol === 'file:') folder = fileURLToPath(storage);
  if (folder === undefined) throw new FedraError('invalid-options', "storage must be a folder, for example './fedra-state'");
  makeFolder(folder);
  return folder;
}

const threads = (folder: string | undefined) => () => new NodeWorker(folder) as unknown as Worker;

/** The working folder, which relative addresses begin from. */
const here = () => pathToFileURL(`${process.cwd()}/`).href;
