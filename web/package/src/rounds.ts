/**
 * Rounds of a task as a client is told them, for `for await`. It must not ask the worker for
 * anything, nor keep more than a fixed number of rounds.
 */
import { aborted, FedraError } from './errors.js';
import type { ClientEvent, ClientEventOf, ClientEventType, UpdateFate, UpdateFault } from './events.js';

/** A round that has ended, and what it brought. */
export interface FinishedRound {
  /** Its number, from 1. */
  readonly round: number;
  /** Hash of the model that it made, in hexadecimal digits. */
  readonly sha256: string;
  /** Share of right answers of that model on the server's held-out examples, 0 to 1; absent where it was not evaluated, and for a regression. */
  readonly accuracy?: number;
  /** Mean loss on these examples, 0 or more; absent where the model was not evaluated. */
  readonly loss?: number;
  /** Fate of this client's update; absent where it sent none, or was told later. */
  readonly update?: UpdateFate;
  /** Reason why the update was not accepted. */
  readonly fault?: UpdateFault;
  /** Epsilon that this client has spent in the task so far, 0 or more; absent for a task without a policy. */
  readonly spentEpsilon?: number;
  /** Rounds before this one that were dropped because the loop was not back in time. */
  readonly missed: number;
}

/** Events that the rounds are made of, and the newest ones. */
export interface RoundSource {
  addEventListener(type: ClientEventType, listener: (event: Event) => void, options?: AddEventListenerOptions): void;
  latest<T extends ClientEventType>(type: T): ClientEventOf<T> | undefined;
}

/** Rounds that wait for a slow loop at most; the oldest ones go first. */
const MOST_WAITING = 64;

type Told = Omit<FinishedRound, 'missed'>;
interface Waiter {
  readonly resolve: (result: IteratorResult<FinishedRound, undefined>) => void;
  readonly reject: (error: FedraError) => void;
}

/** The rounds of one loop, from its making on. */
export class Rounds implements AsyncIterableIterator<FinishedRound> {
  readonly #source: RoundSource;
  readonly #settled = new AbortController();
  readonly #waiting: Told[] = [];
  readonly #waiters: Waiter[] = [];
  #missed = 0;
  /** Newest round that is not to be told any more. */
  #past: number | undefined;
  /** A round whose model has not been evaluated yet. */
  #pending: Told | undefined;
  #own: ClientEventOf<'update'> | undefined;
  /** Error that ends the iteration once what waits has been taken. */
  #error: FedraError | undefined;

  constructor(source: RoundSource, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#past = source.latest('model')?.round;
    const listen = <T extends ClientEventType>(type: T, take: (event: ClientEventOf<T>) => void) =>
      source.addEventListener(type, (event) => take((event as CustomEvent<ClientEvent>).detail as ClientEventOf<T>), {
        signal: this.#settled.signal,
      });
    listen('update', (event) => (this.#own = event));
    listen('model', (event) => this.#model(event));
    listen('error', ({ fatal, code, message }) => {
      if (fatal) this.#end(new FedraError(code, message));
    });
    listen('status', ({ state }) => {
      if (state === 'closed') this.#end();
    });
    if (source.latest('status')?.state === 'closed') this.#end();
    if (signal?.aborted) this.#abort(signal);
    else signal?.addEventListener('abort', () => this.#abort(signal), { once: true, signal: this.#settled.signal });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<FinishedRound, undefined>> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#serve();
    });
  }

  /** Ends the iteration, as `break` does. */
  async return(): Promise<IteratorResult<FinishedRound, undefined>> {
    this.#waiting.length = 0;
    this.#pending = undefined;
    this.#end();
    return { done: true, value: undefined };
  }

  #model(event: ClientEventOf<'model'>): void {
    const { round, sha256, accuracy, loss, evaluatedRound } = event;
    // The first model that a client is told is that of earlier rounds.
    if (this.#past === undefined) this.#past = round;
    if (this.#pending && (round > this.#pending.round || evaluatedRound === this.#pending.round)) {
      const isItsOwn = evaluatedRound === this.#pending.round;
      this.#tell({ ...this.#pending, ...(isItsOwn ? scores(accuracy, loss) : {}) });
      this.#pending = undefined;
    }
    if (round <= this.#past) return;
    this.#past = round;
    const told: Told = { round, sha256, ...this.#ownPart(round) };
    // Where models are evaluated, this one will be, unless the next one is there before.
    if (evaluatedRound === undefined) this.#tell(told);
    else if (evaluatedRound === round) this.#tell({ ...told, ...scores(accuracy, loss) });
    else this.#pending = told;
  }

  #ownPart(round: number): Partial<Told> {
    const own = this.#own?.round === round ? this.#own : undefined;
    const terms = this.#source.latest('privacy');
    return {
      ...(own ? { update: own.outcome } : {}),
      ...(own?.fault === undefined ? {} : { fault: own.fault }),
      ...(terms && terms.policy !== 'none' ? { spentEpsilon: terms.spentEpsilon } : {}),
    };
  }

  #tell(round: Told): void {
    this.#waiting.push(round);
    if (this.#waiting.length > MOST_WAITING) {
      this.#waiting.shift();
      this.#missed += 1;
    }
    this.#serve();
  }

  #abort(signal: AbortSignal): void {
    this.#waiting.length = 0;
    this.#pending = undefined;
    this.#end(aborted(signal));
  }

  #end(error?: FedraError): void {
    if (this.#settled.signal.aborted) return;
    this.#settled.abort();
    this.#error = error;
    if (this.#pending) this.#tell(this.#pending);
    this.#pending = undefined;
    this.#serve();
  }

  #serve(): void {
    while (this.#waiters.length > 0) {
      const round = this.#waiting.shift();
      if (!round && !this.#settled.signal.aborted) return;
      const waiter = this.#waiters.shift();
      if (round) {
        const value = { ...round, missed: this.#missed };
        this.#missed = 0;
        waiter?.resolve({ done: false, value });
      } else if (this.#error) {
        waiter?.reject(this.#error);
        this.#error = undefined;
      } else {
        waiter?.resolve({ done: true, value: undefined });
      }
    }
  }
}

function scores(accuracy: number | undefined, loss: number | undefined): Pick<Told, 'accuracy' | 'loss'> {
  return { ...(accuracy === undefined ? {} : { accuracy }), ...(loss === undefined ? {} : { loss }) };
}
