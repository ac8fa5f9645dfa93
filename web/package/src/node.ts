/**
 * Fedra in Node.js: the client of the browser, on the CPU, in a thread of `worker_threads`. What
 * outlives it is in a folder that the caller names.
 */
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { FedraClient as BrowserClient, keptFiles } from './client.js';
import { FedraError } from './errors.js';
import type { BackendChoice } from './events.js';
import type { Kept } from './kept-files.js';
import { Model } from './model.js';
import { makeFolder, ownerName, placesIn } from './node-stores.js';
import { NodeWorker } from './node-thread.js';
import type { LoadOptions as BrowserLoadOptions, ConnectOptions as BrowserOptions } from './options.js';
import type { Place as BrowserPlace, CheckedOptions } from './validate.js';
import { checkConfig, checkLoad, checkPlace } from './validate.js';

export { FedraError } from './errors.js';
export type * from './index.js';

interface Stored {
  /**
   * Folder of what outlives the client: the count of its rounds in a private task, files that it
   * keeps, and what a sparse codec has not sent. It is made if it is not there. Without one the
   * client takes no part in private rounds (`participation-not-kept`).
   */
  readonly storage?: string | URL;
}

/** Options of {@link FedraClient.connect}. */
export interface ConnectOptions extends Omit<BrowserOptions, 'worker' | 'backend'>, Stored {
  /** Both are the CPU. */
  readonly backend?: Exclude<BackendChoice, 'webgpu'>;
}

/** Options of {@link FedraClient.load}. */
export interface LoadOptions extends Omit<BrowserLoadOptions, 'worker'> {}

/** A task of an aggregator, and the folder of the files that are kept. */
export interface Place extends BrowserPlace, Stored {}

/** One participant in one task, as in a browser. Addresses and files begin from the working folder. */
export class FedraClient extends BrowserClient {
  /**
   * Starts a thread and a session in it, as in a browser. Rejects in the same way, and with
   * `no-storage` where the folder cannot be used.
   */
  static override async connect(options: ConnectOptions): Promise<FedraClient> {
    const { storage, rest } = split('connect', options);
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
    const { storage, rest } = split('kept', place);
    return keptFiles(checkPlace('kept', rest, here()), placesIn(checkFolder(storage), ownerName())).kept();
  }

  /** Removes them, and the part of the task's updates that a sparse codec has not sent. */
  static override async forget(place: Place): Promise<void> {
    const { storage, rest } = split('forget', place);
    return keptFiles(checkPlace('forget', rest, here()), placesIn(checkFolder(storage), ownerName())).forget();
  }
}

/** The options without those of Node.js. */
function split(call: string, options: object): { readonly storage: unknown; readonly rest: Record<string, unknown> } {
  const { storage, ...rest } = { ...options } as Record<string, unknown>;
  if ('worker' in rest) throw new FedraError('invalid-options', `${call} of fedra/node has no worker: it makes a thread of its own`);
  return { storage, rest };
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
