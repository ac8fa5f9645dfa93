/// <reference lib="esnext.disposable" preserve="true" />

/**
 * A task's model for a page that only predicts: fetched over HTTP, run in a
 * worker, without a session, a token or a part in any round.
 */
import type { Address } from './address.js';
import { aborted, closed, FedraError, wordsOf } from './errors.js';
import { sha256 } from './hash.js';
import type { FromWorker, ModelFiles } from './messages.js';
import type { LoadOptions, WaitOptions } from './options.js';
import { watchPage } from './policy.js';
import { Requests } from './requests.js';
import type { Ready } from './spawn.js';
import { expectWorkers, spawn, started } from './spawn.js';
import type { CheckedStart, Features } from './validate.js';
import { checkFeatures, checkLoad, checkWait } from './validate.js';

/** The aggregator's description of a file. */
interface Described {
  readonly sha256: string;
  readonly bytes: number;
  readonly url: string;
}

/** The same of the task's newest model. */
interface Description extends Described {
  readonly round: number;
  /** Its frozen layers, which an older aggregator does not have. */
  readonly frozen?: Described | null;
}

/** Code of the model's worker. */
type Program = Pick<CheckedStart, 'worker' | 'modules'>;

/** Most attempts: a model may be replaced between its description and its download. */
const ATTEMPTS = 3;

/** The newest model of a task at the time of {@link FedraClient.load}. It does not change. */
export class Model {
  /** Rounds that it was trained for. */
  readonly round: number;
  /** The hash of its file, in hexadecimal digits. */
  readonly sha256: string;
  /** Shape of one example. */
  readonly inputShape: readonly number[];
  /** Values that `predict` gives for one example. */
  readonly outputs: number;
  readonly #files: ModelFiles;
  readonly #program: Program;
  readonly #requests = new Requests();
  /** The worker, or a promise of the one in place of one that crashed. */
  #worker: Promise<Worker> | undefined;
  #closed = false;

  private constructor(
    { round, sha256 }: Description,
    files: ModelFiles,
    program: Program,
    [worker, { inputShape, outputs }]: readonly [Worker, Extract<Ready, { type: 'loaded' }>],
  ) {
    this.round = round;
    this.sha256 = sha256;
    this.inputShape = inputShape;
    this.outputs = outputs;
    this.#files = files;
    this.#program = program;
    this.#worker = Promise.resolve(this.#listen(worker));
  }

  /** See {@link FedraClient.load}. */
  static async load(options: LoadOptions): Promise<Model> {
    return Model.open(checkLoad(options, globalThis.location?.href));
  }

  /** @internal Loads with options that have passed the checks. */
  static async open({ address, task, signal, ...program }: CheckedStart): Promise<Model> {
    if (signal?.aborted) throw aborted(signal);
    expectWorkers(program.worker);
    const [description, files] = await download(address, task, signal);
    const model = new Model(description, files, program, await run(program, files, signal));
    signal?.addEventListener('abort', () => model.close(), { once: true });
    return model;
  }

  /**
   * Predicts one or more examples, `outputs` values for each: probabilities of a
   * classifier, values of a regression. Rejects with
   * `bad-input`, `bad-features`, `out-of-memory`, `closed`, `aborted`, or `worker-failed` if the
   * worker crashed, which costs the calls that were open.
   */
  async predict(features: Features, options: WaitOptions = {}): Promise<Float32Array> {
    const own = checkFeatures(features).slice();
    const signal = checkWait('predict', options);
    if (signal?.aborted) throw aborted(signal);
    if (this.#closed) throw closed('the model');
    this.#worker ??= this.#restart();
    const worker = await this.#worker;
    if (this.#closed) throw closed('the model');
    const send = (id: number) => worker.postMessage({ type: 'predict', id, features: own }, [own.buffer]);
    const answer = await this.#requests.ask('predict', send, signal);
    return answer.probabilities ?? new Float32Array();
  }

  /** Frees what it holds. Calls that are open reject with `closed`. */
  close(): void {
    this.#closed = true;
    this.#requests.rejectAll(closed('the model'));
    void this.#worker?.then(
      (worker) => worker.terminate(),
      () => {},
    );
    this.#worker = undefined;
  }

  /** Calls {@link close}, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Calls {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #restart(): Promise<Worker> {
    try {
      const [worker] = await run(this.#program, this.#files, undefined);
      return this.#listen(worker);
    } catch (error) {
      this.#worker = undefined;
      throw error;
    }
  }

  #listen(worker: Worker): Worker {
    const fail = (message: string) => {
      worker.terminate();
      this.#worker = undefined;
      this.#requests.rejectAll(crashed(message));
    };
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.type === 'done' || data.type === 'refused') this.#requests.answer(data);
      if (data.type === 'failed') fail(data.message);
    };
    worker.onerror = ({ message }) => fail(message || 'the worker stopped');
    return worker;
  }
}

/** The error of a call that was open when its worker crashed. */
export function crashed(reason: string): FedraError {
  return new FedraError(
    'worker-failed',
    `the worker failed (${reason}) during this call, most likely for lack of memory: ask about fewer examples at once`,
  );
}

/** A worker with the model in it. */
async function run({ worker, modules }: Program, files: ModelFiles, signal: AbortSignal | undefined) {
  const spawned = spawn(worker);
  try {
    const ready = await started(spawned, { type: 'load', ...files, ...(modules ? { modules } : {}) }, signal);
    if (ready.type !== 'loaded') throw new FedraError('worker-failed', `${spawned.name} is not the one of this version of fedra`);
    return [spawned.worker, ready] as const;
  } catch (error) {
    spawned.worker.terminate();
    throw error;
  }
}

async function download(address: Address, task: string, signal: AbortSignal | undefined): Promise<[Description, ModelFiles]> {
  let gone: string | undefined;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const document = new URL(`tasks/${encodeURIComponent(task)}`, address.http);
    const description = await describe(document, signal);
    if (description.sha256 === gone) break;
    const fetched = async (described: Described) => {
      const file = await get(new URL(described.url, document), signal, (answer) => answer.arrayBuffer());
      return file && (await verified(new Uint8Array(file), described));
    };
    const file = await fetched(description);
    if (file && !description.frozen) return [description, { file }];
    const frozen = file && description.frozen && (await fetched(description.frozen));
    if (file && frozen) return [description, { file, frozen }];
    gone = description.sha256;
  }
  throw new FedraError(
    'model-unavailable',
    `the aggregator no longer has the model ${gone} of the task ${task}; a later try may find a newer one`,
  );
}

async function describe(url: URL, signal: AbortSignal | undefined): Promise<Description> {
  const answer: unknown = await get(url, signal, (response) => response.json());
  if (answer === undefined) throw new FedraError('unknown-task', `the aggregator at ${url.origin} has no task at ${url.pathname}`);
  const model = (answer as { readonly model?: Partial<Description> } | null)?.model;
  if (!model || !isDescribed(model) || !Number.isSafeInteger(model.round) || (model.frozen && !isDescribed(model.frozen))) {
    throw new FedraError('no-server', `what answers at ${url.href} is not an aggregator of this version`);
  }
  return model as Description;
}

function isDescribed({ sha256, url, bytes }: Partial<Described>): boolean {
  return typeof sha256 === 'string' && typeof url === 'string' && Number.isSafeInteger(bytes);
}

/** The body of an answer; undefined where there is nothing of that name. */
async function get<Body>(url: URL, signal: AbortSignal | undefined, read: (answer: Response) => Promise<Body>): Promise<Body | undefined> {
  const policy = watchPage();
  let answer: Response | undefined;
  try {
    answer = await fetch(url, { signal: signal ?? null, credentials: 'omit' });
    if (answer.status === 404 || answer.status === 410) return undefined;
    if (answer.ok) return await read(answer);
  } catch (cause) {
    if (signal?.aborted) throw aborted(signal);
    // A violation may be told after the error that it causes.
    await new Promise((resolve) => setTimeout(resolve));
    const hint = 'check the address and the connection, and that the aggregator lets pages of this origin read its answers';
    const message = answer ? `the answer from ${url.href} broke off or is not what an aggregator sends` : `no answer from ${url.href}`;
    throw new FedraError('no-server', policy.explain(`${message} (${wordsOf(cause)})`, answer ? undefined : hint), { cause });
  } finally {
    policy.end();
  }
  throw new FedraError('no-server', `${url.href} answered ${answer.status}`);
}

/**
 * `file`, if it is the one described. Without TLS a browser has no `crypto.subtle`
 * (except on this machine itself). Then only its length is checked: an attacker who
 * can change the file on its way could change the hash as well.
 */
async function verified(file: Uint8Array<ArrayBuffer>, { sha256: name, bytes }: Described): Promise<Uint8Array<ArrayBuffer>> {
  const hash = await sha256(file);
  if (file.byteLength === bytes && (hash ?? name) === name) return file;
  throw new FedraError(
    'model-unavailable',
    `the model that came is not ${name}, which the aggregator names: it was damaged on its way, or a cache has another one`,
  );
}
