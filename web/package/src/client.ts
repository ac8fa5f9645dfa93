/**
 * The page's side of a client: starts the worker, sends it data, turns its
 * messages into events. It must not compute on tensors, and importing it must
 * not touch anything that only a browser has.
 */
import { FedraError } from './errors.js';
import type { BackendChoice, ClientEvent, ClientEventOf, ClientEventType, FedraEventMap } from './events.js';
import type { ClientConfig, FromWorker, ToWorker } from './messages.js';
import { PrivacyKeeper } from './privacy.js';
import { askForToken } from './token.js';
import type { TokenSource } from './token.js';
import { checkConfig, checkDataset, checkFeatures } from './validate.js';
import type { CheckedDataset, CheckedOptions, PrivacyOptions, TrainingData } from './validate.js';

/** How to connect. */
export interface ConnectOptions {
  /** The aggregator's WebSocket, for example `wss://example.org/v1/connect`. */
  readonly url: string | URL;
  /** The id of the task to take part in. */
  readonly task: string;
  /** Default `auto`: measure, and keep the faster one. */
  readonly backend?: BackendChoice;
  /** Aborts connecting; after that, closes the client. */
  readonly signal?: AbortSignal;
  /** What the task must promise at least, and how the person is asked. */
  readonly privacy?: PrivacyOptions;
  /**
   * For tasks that are not open: a token from the site's server, or a function
   * that fetches one. It is called before every connection; if it fails, it is
   * called again later.
   */
  readonly token?: TokenSource;
}

/** How to hand over a data set. */
export interface TrainOptions {
  /**
   * Hand the arrays' buffers over to the worker instead of copying them. They
   * are empty afterwards.
   */
  readonly transfer?: boolean;
}

interface Request {
  readonly resolve: (probabilities: Float32Array | undefined) => void;
  readonly reject: (error: FedraError) => void;
}

/** How long `close` waits for the worker to end by itself, in milliseconds. */
const CLOSE_GRACE_MS = 2000;

/**
 * One participant in one task. Made by {@link FedraClient.connect}; training,
 * the connection and its repair go on in a worker until {@link close}.
 */
export class FedraClient extends EventTarget {
  readonly #options: CheckedOptions;
  readonly #privacy: PrivacyKeeper;
  #worker: Worker;
  /** Whether the WebGPU build runs: if it crashes, the CPU build takes over. */
  #webgpu = false;
  /** What that build would have to be given again: the data set it has, then those it has not answered. */
  #data: (CheckedDataset & { readonly id: number })[] = [];
  #paused = false;
  readonly #latest = new Map<ClientEventType, ClientEvent>();
  readonly #requests = new Map<number, Request>();
  #nextRequest = 1;
  #closing: Promise<void> | undefined;
  #ended = false;
  #onEnded: () => void = () => {};

  private constructor(options: CheckedOptions, worker: Worker) {
    super();
    this.#options = options;
    this.#worker = worker;
    this.#privacy = new PrivacyKeeper(options, {
      agreed: () => this.#ifOpen(() => this.#post({ type: 'consent' })),
      refused: (error) =>
        this.#ifOpen(() => {
          this.#emit(error);
          void this.close();
        }),
    });
  }

  /**
   * Starts a worker and a session in it. Resolves once both run; the
   * connection itself is reported by `status` events. Rejects with a
   * {@link FedraError}: `invalid-options`, `not-in-a-browser`,
   * `wasm-load-failed`, `worker-failed` or `aborted`.
   */
  static async connect(options: ConnectOptions): Promise<FedraClient> {
    const checked = checkConfig(options, globalThis.location?.href);
    const { signal } = options;
    if (signal?.aborted) throw aborted(signal);
    const worker = createWorker();
    const client = new FedraClient(checked, worker);
    try {
      client.#webgpu = await started(worker, { type: 'start', config: client.#config(checked.backend) }, signal);
    } catch (error) {
      worker.terminate();
      throw error;
    }
    client.#listen();
    signal?.addEventListener('abort', () => void client.close(), { once: true });
    return client;
  }

  /** The newest event of a kind, for listeners that come late. */
  latest<T extends ClientEventType>(type: T): ClientEventOf<T> | undefined {
    return this.#latest.get(type) as ClientEventOf<T> | undefined;
  }

  /**
   * Gives the client its examples, in place of any earlier ones. It checks in
   * once it has some. Resolves when the worker has taken them; rejects with
   * `bad-dataset` or `closed`.
   */
  async train(data: TrainingData, options: TrainOptions = {}): Promise<void> {
    const { features, labels, shape } = checkDataset(data);
    const own = options.transfer ? ownBuffer : copy;
    const message = { features: own(features), labels: own(labels), shape };
    await this.#request((id) => {
      if (this.#webgpu) {
        this.#data.push({ id, features: copy(message.features), labels: copy(message.labels), shape: shape.slice() });
      }
      return { type: 'dataset', id, ...message };
    }, buffers(message));
  }

  /**
   * Probabilities that the newest global model gives to one or more examples,
   * `outputs` values for each. Rejects with `bad-input` or `closed`, or as the
   * module says: `no-model` before the first `model` event, `bad-features`.
   */
  async predict(features: Float32Array): Promise<Float32Array> {
    const own = copy(checkFeatures(features));
    const probabilities = await this.#request((id) => ({ type: 'predict', id, features: own }), [own.buffer]);
    return probabilities ?? new Float32Array();
  }

  /** Takes no part in further rounds until {@link resume}. */
  pause(): void {
    this.#post({ type: 'pause' });
    this.#paused = true;
  }

  /** Takes part again. */
  resume(): void {
    this.#post({ type: 'resume' });
    this.#paused = false;
  }

  /** Leaves the task and ends the worker. Resolves when it has ended. */
  close(): Promise<void> {
    this.#closing ??= this.#ended ? Promise.resolve() : this.#leave();
    return this.#closing;
  }

  override addEventListener<T extends ClientEventType>(
    type: T,
    listener: ((this: FedraClient, event: FedraEventMap[T]) => void) | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  override addEventListener(
    type: string,
    listener: unknown,
    options?: AddEventListenerOptions | boolean,
  ): void {
    super.addEventListener(type, listener as EventListenerOrEventListenerObject | null, options);
  }

  override removeEventListener<T extends ClientEventType>(
    type: T,
    listener: ((this: FedraClient, event: FedraEventMap[T]) => void) | null,
    options?: EventListenerOptions | boolean,
  ): void;
  override removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: EventListenerOptions | boolean,
  ): void;
  override removeEventListener(
    type: string,
    listener: unknown,
    options?: EventListenerOptions | boolean,
  ): void {
    super.removeEventListener(type, listener as EventListenerOrEventListenerObject | null, options);
  }

  /** What the module is started with, now. */
  #config(backend: BackendChoice): ClientConfig {
    const { url, task, token } = this.#options;
    return { url, task, backend, privacy: this.#privacy.config(), token: token === undefined ? 'none' : 'ask' };
  }

  #ifOpen(act: () => void): void {
    if (!this.#ended && !this.#closing) act();
  }

  #listen(): void {
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#receive(data);
    this.#worker.onerror = (event) => this.#fail(event.message || 'the worker stopped');
    this.#worker.onmessageerror = () => this.#fail('a message of the worker could not be read');
  }

  #post(message: ToWorker, transfer: Transferable[] = []): void {
    if (this.#ended || this.#closing) throw closed();
    this.#worker.postMessage(message, transfer);
  }

  #request(message: (id: number) => ToWorker, transfer: Transferable[]): Promise<Float32Array | undefined> {
    return new Promise((resolve, reject) => {
      const id = this.#nextRequest++;
      this.#post(message(id), transfer);
      this.#requests.set(id, { resolve, reject });
    });
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'event':
        this.#emit(message.event);
        break;
      case 'done':
        this.#keep(message.id, true);
        this.#take(message.id)?.resolve(message.probabilities);
        break;
      case 'refused':
        this.#keep(message.id, false);
        this.#take(message.id)?.reject(new FedraError(message.code, message.message));
        break;
      case 'ask-token':
        void this.#answerToken(message.id, this.#worker);
        break;
      case 'closed':
        this.#end();
        break;
      case 'failed':
        this.#fail(message.message);
        break;
      case 'started':
        break;
    }
  }

  /** `worker` is the one that asked: another may have taken its place by then. */
  async #answerToken(id: number, worker: Worker): Promise<void> {
    let answer: ToWorker;
    try {
      const { token } = this.#options;
      if (token === undefined) throw new Error('the page gave none');
      answer = { type: 'token', id, token: await askForToken(token) };
    } catch (error) {
      answer = { type: 'no-token', id, message: error instanceof Error ? error.message : String(error) };
    }
    this.#ifOpen(() => {
      if (worker === this.#worker) this.#post(answer);
    });
  }

  #take(id: number): Request | undefined {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    return request;
  }

  /** A data set that was accepted takes the place of those before it; one that was refused, of none. */
  #keep(id: number, accepted: boolean): void {
    const at = this.#data.findIndex((data) => data.id === id);
    if (at >= 0) this.#data.splice(accepted ? 0 : at, accepted ? at : 1);
  }

  #emit(event: ClientEvent): void {
    if (event.type === 'backend' && event.backend === 'cpu') {
      this.#webgpu = false;
      this.#data = [];
    }
    this.#latest.set(event.type, event);
    this.#privacy.see(event);
    this.dispatchEvent(new CustomEvent(event.type, { detail: event }));
  }

  #fail(message: string): void {
    if (this.#ended) return;
    if (this.#webgpu && !this.#closing) {
      this.#goOnWithTheCpu(message);
      return;
    }
    this.#emit({ type: 'error', code: 'worker-failed', message, fatal: true });
    this.#end();
  }

  /** A graphics driver can take the whole module down. The CPU build starts over. */
  #goOnWithTheCpu(reason: string): void {
    this.#worker.terminate();
    this.#webgpu = false;
    const message = `WebGPU failed (${reason}); going on with the CPU`;
    const error = new FedraError('device-lost', message);
    for (const [id, { reject }] of this.#requests) {
      if (this.#data.some((data) => data.id === id)) continue;
      this.#requests.delete(id);
      reject(error);
    }
    this.#emit({ type: 'error', code: error.code, message, fatal: false });
    this.#privacy.crashed();
    // A listener may have closed the client, and the worker that would say so is gone.
    if (this.#closing || this.#ended) return this.#end();
    this.#worker = createWorker();
    this.#listen();
    this.#post({ type: 'start', config: this.#config('cpu') });
    for (const data of this.#data) this.#post({ type: 'dataset', ...data }, buffers(data));
    this.#data = [];
    if (this.#paused) this.#post({ type: 'pause' });
  }

  #leave(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#end(), CLOSE_GRACE_MS);
      this.#onEnded = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#worker.postMessage({ type: 'close' } satisfies ToWorker);
    });
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#worker.terminate();
    for (const { reject } of this.#requests.values()) reject(closed());
    this.#requests.clear();
    if (this.latest('status')?.state !== 'closed') this.#emit({ type: 'status', state: 'closed' });
    this.#onEnded();
  }
}

function createWorker(): Worker {
  if (typeof Worker === 'undefined') {
    throw new FedraError('not-in-a-browser', 'a client needs a browser: there is no Worker here');
  }
  try {
    // In exactly this form bundlers find the worker.
    return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  } catch (cause) {
    throw new FedraError('worker-failed', 'the browser refused to start the worker', { cause });
  }
}

/** Resolves when the worker has loaded its module and runs, with whether that is the WebGPU build. */
function started(worker: Worker, start: ToWorker, signal: AbortSignal | undefined): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(aborted(signal));
    const settled = () => signal?.removeEventListener('abort', stop);
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      settled();
      if (data.type === 'failed') reject(new FedraError(data.code, data.message));
      else resolve(data.type === 'started' && data.webgpu);
    };
    worker.onerror = (event) => {
      settled();
      reject(new FedraError('worker-failed', event.message || 'the worker could not be loaded'));
    };
    signal?.addEventListener('abort', stop, { once: true });
    worker.postMessage(start);
  });
}

/** The buffers to hand over with a data set, each once. */
function buffers({ features, labels, shape }: CheckedDataset): Transferable[] {
  return [...new Set([features.buffer, labels.buffer, shape.buffer])] as Transferable[];
}

function copy(values: Float32Array): Float32Array<ArrayBuffer> {
  return new Float32Array(values);
}

/** The array itself where it is alone in a buffer that can be transferred. */
function ownBuffer(values: Float32Array): Float32Array<ArrayBuffer> {
  const { buffer } = values;
  const alone = buffer instanceof ArrayBuffer && buffer.byteLength === values.byteLength;
  return alone ? (values as Float32Array<ArrayBuffer>) : copy(values);
}

function aborted(signal: AbortSignal | undefined): FedraError {
  return new FedraError('aborted', 'connecting was aborted', { cause: signal?.reason });
}

function closed(): FedraError {
  return new FedraError('closed', 'the client is closed');
}
