/** Requests to a worker that it has not answered yet, by number. It must not post anything. */
import { aborted, FedraError } from './errors.js';
import type { FromWorker } from './messages.js';

/** Results of a request that the worker has fulfilled. */
export type Answer = Pick<Extract<FromWorker, { type: 'done' }>, 'probabilities' | 'data' | 'personalization'>;

/** Kinds of requests to a worker. */
export type RequestKind = 'dataset' | 'personalize' | 'predict' | 'read';

interface Request {
  readonly kind: RequestKind;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: FedraError) => void;
}

export class Requests {
  readonly #open = new Map<number, Request>();
  #next = 1;

  get size(): number {
    return this.#open.size;
  }

  /**
   * Settles with the worker's answer to what `send` posts. If that throws, there is no request.
   * The signal ends the wait, not the worker's work.
   */
  async ask(kind: RequestKind, send: (id: number) => void, signal?: AbortSignal): Promise<Answer> {
    if (signal?.aborted) throw aborted(signal);
    const settled = new AbortController();
    try {
      return await new Promise((resolve, reject) => {
        const id = this.#next++;
        send(id);
        this.#open.set(id, { kind, resolve, reject });
        const giveUp = () => {
          this.#open.delete(id);
          reject(aborted(signal as AbortSignal));
        };
        signal?.addEventListener('abort', giveUp, { signal: settled.signal });
      });
    } finally {
      settled.abort();
    }
  }

  /** Settles a request; false if it is not open. */
  answer(message: Extract<FromWorker, { type: 'done' | 'refused' }>): boolean {
    const request = this.#open.get(message.id);
    if (message.type === 'done') request?.resolve(message);
    else request?.reject(new FedraError(message.code, message.message));
    return this.#open.delete(message.id);
  }

  /** Rejects the requests of a kind, or all. */
  rejectAll(error: FedraError, kind?: RequestKind): void {
    for (const [id, request] of this.#open) {
      if (kind !== undefined && request.kind !== kind) continue;
      this.#open.delete(id);
      request.reject(error);
    }
  }
}
