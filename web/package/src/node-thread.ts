/** A thread of Node.js in the form of a browser's worker, as far as a client uses one. */
import type { Transferable as NodeTransferable } from 'node:worker_threads';
import { Worker as Thread } from 'node:worker_threads';
import type { ToWorker } from './messages.js';
import { ownerName, unlock } from './node-stores.js';

/** Data that a thread is started with. */
export interface ThreadData {
  readonly storage: string | undefined;
  /** Its name to locks. */
  readonly owner: string;
}

export class NodeWorker {
  onmessage: ((event: { readonly data: unknown }) => void) | null = null;
  onerror: ((event: { readonly message: string }) => void) | null = null;
  onmessageerror: (() => void) | null = null;
  readonly #thread: Thread;
  #ended = false;

  constructor(storage: string | undefined) {
    const workerData: ThreadData = { storage, owner: ownerName() };
    // A thread that inherits `--input-type` refuses to start from a file.
    const inherits = !process.execArgv.some((argument) => argument.startsWith('--input-type'));
    this.#thread = new Thread(new URL('./node-worker.js', import.meta.url), { workerData, ...(inherits ? {} : { execArgv: [] }) });
    this.#thread.on('message', (data) => this.onmessage?.({ data }));
    this.#thread.on('messageerror', () => this.onmessageerror?.());
    this.#thread.on('error', (error) => this.#failed(error instanceof Error ? error.message : String(error)));
    this.#thread.on('exit', (code) => {
      if (storage !== undefined) unlock(storage, workerData.owner);
      this.#failed(`the thread ended with code ${code}`);
    });
  }

  postMessage(message: ToWorker, transfer: readonly Transferable[] = []): void {
    this.#thread.postMessage(message, transfer as readonly NodeTransferable[]);
  }

  terminate(): void {
    this.#ended = true;
    void this.#thread.terminate();
  }

  #failed(message: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.onerror?.({ message });
  }
}
