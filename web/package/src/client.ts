/// <reference lib="esnext.disposable" preserve="true" />

/**
 * The page's side of a client: starts the worker, sends it data, turns its
 * messages into events. It must not compute on tensors, and importing it must
 * not touch anything that only a browser has.
 */
import { BROWSER } from './browser-stores.js';
import { ClientEvents, tooLate } from './client-events.js';
import type { ConsentRecord } from './consent.js';
import type { FedraErrorCode } from './errors.js';
import { aborted, closed, FedraError, wordsOf } from './errors.js';
import type { BackendChoice, ClientEvent, ClientEventOf, ClientEventType, InnerEvent } from './events.js';
import type { Personalization } from './generated/contract.js';
import type { GivenData } from './given-data.js';
import { copied, GivenSets, takenOver } from './given-data.js';
import type { Kept, KeptFiles } from './kept-files.js';
import { Manners } from './manners.js';
import type { ClientConfig, FromWorker, ToWorker } from './messages.js';
import { crashed, Model } from './model.js';
import type {
  ConnectOptions,
  LoadOptions,
  PersonalizeOptions,
  PredictOptions,
  ReadOptions,
  TrainKeptOptions,
  TrainOptions,
  WaitOptions,
} from './options.js';
import { PrivacyKeeper } from './privacy.js';
import { REMEDIES } from './remedies.js';
import type { Answer } from './requests.js';
import { Requests } from './requests.js';
import type { FinishedRound } from './rounds.js';
import { Rounds } from './rounds.js';
import type { Sent } from './sent.js';
import { expectWorkers, spawn, started } from './spawn.js';
import type { Places } from './stores.js';
import type { WorkerLike } from './tabs.js';
import { StandIn } from './tabs.js';
import { consentTo, keptFiles, revoke, sentIn } from './task-entries.js';
import { answerToken } from './token.js';
import type {
  CheckedOptions,
  CheckedTraining,
  Features,
  Place,
  ReadData,
  Reading,
  TrainingData,
  TrainingFiles,
  TrainingImages,
} from './validate.js';
import {
  checkConfig,
  checkDataset,
  checkFeatures,
  checkFileOptions,
  checkFiles,
  checkPersonalizing,
  checkPlace,
  checkPredicting,
  checkTraining,
  checkTrainingKept,
  checkWait,
  isFiles,
  LONGEST_MS,
} from './validate.js';

/** Wait for a worker's answer to data. */
type Waiting = Pick<CheckedTraining, 'timeout' | 'signal' | 'onReading'>;

/** Longest wait of `close` for the worker's own end, in milliseconds. */
const CLOSE_GRACE_MS = 2000;
/** Crashes of one kind, with nothing done in between, after which the worker is not started again. */
const MOST_CRASHES = 3;

/**
 * One participant in one task. Made by {@link FedraClient.connect}; training,
 * the connection and its repair go on in a worker until {@link close}.
 */
export class FedraClient extends ClientEvents {
  readonly #options: CheckedOptions;
  readonly #privacy: PrivacyKeeper;
  /** A stand-in while another tab leads, and in the back/forward cache. */
  #worker: WorkerLike = new StandIn();
  readonly #manners: Manners;
  /** True once the worker has loaded its module. */
  #running = true;
  /** Crashes while a call was open since one was last answered, and others since an update was last accepted. */
  readonly #crashes = { inCall: 0, alone: 0 };
  readonly #data = new GivenSets();
  readonly #kept: KeptFiles;
  /** True if the files may be read again: the task was told since they were. */
  #mayReadAgain = false;
  /** Data sets that are to be given up unless they have been taken. */
  readonly #withdrawn = new Set<number>();
  /** Listeners to the reading of files, by the request. */
  readonly #readings = new Map<number, (progress: Reading) => void>();
  readonly #latest = new Map<ClientEventType, ClientEvent>();
  readonly #requests = new Requests();
  #closing: Promise<void> | undefined;
  #ended = false;
  #onEnded: () => void = () => {};

  /** @internal */
  protected constructor(options: CheckedOptions, places: Places) {
    super();
    this.#options = options;
    this.#kept = keptFiles(options, places);
    this.#privacy = new PrivacyKeeper(options, places, {
      agreed: () =>
        this.#ifOpen(() => {
          this.#manners.agreed();
          this.#post({ type: 'consent' });
        }),
      refused: (error) =>
        this.#ifOpen(() => {
          this.#emit(error);
          void this.close();
        }),
      notKept: (error) => this.#ifOpen(() => this.#emit(error)),
    });
    this.#manners = new Manners(options, places, this.#privacy, {
      rest: (isHeld) => this.#ifOpen(() => this.#post({ type: isHeld ? 'pause' : 'resume' })),
      lead: () => this.#ifOpen(() => this.#begin(options.backend)),
      leave: () => this.#ifOpen(() => this.#replace(new StandIn(), 'the tab gave its part up')),
      end: (event) =>
        this.#ifOpen(() => {
          this.#show(event);
          void this.close();
        }),
      show: (event) => this.#show(event),
      status: () => this.latest('status'),
      newest: () => this.#latest.values(),
    });
  }

  /**
   * Starts a worker and a session in it. Resolves once both run. The session connects
   * at once and observes: the task, its rounds and its newest model. `status` events
   * report on the connection. It takes part once {@link train} has given it data.
   * Rejects with a {@link FedraError}: `invalid-options`, `not-in-a-browser`,
   * `wasm-load-failed`, `wasm-hash-mismatch`, `worker-failed` or `aborted`.
   */
  static async connect(options: ConnectOptions): Promise<FedraClient> {
    return FedraClient.open(checkConfig(options, globalThis.location?.href), BROWSER);
  }

  /** @internal Connects with options that have passed the checks. */
  protected static async open(checked: CheckedOptions, places: Places): Promise<FedraClient> {
    const { signal } = checked;
    if (signal?.aborted) throw aborted(signal);
    expectWorkers(checked.worker);
    const client = new this(checked, places);
    try {
      await client.#open(signal);
    } catch (error) {
      client.#worker.terminate();
      client.#manners.end();
      throw error;
    }
    signal?.addEventListener('abort', () => void client.close(), { once: true });
    return client;
  }

  /**
   * Fetches the newest model of a task for a page that only predicts: there is no
   * session, no token, and no part in any round. Works for every task that the
   * aggregator lists, finished and stopped ones included. Rejects with a
   * {@link FedraError}: `invalid-options`, `not-in-a-browser`, `no-server`,
   * `unknown-task`, `model-unavailable` (it is gone, or is not the one named),
   * `bad-model` (it is damaged, or a newer version of this package may know its
   * layers), `out-of-memory`, `wasm-load-failed`, `wasm-hash-mismatch`, `worker-failed` or `aborted`.
   */
  static load(options: LoadOptions): Promise<Model> {
    return Model.load(options);
  }

  /**
   * Size and age of the files that this browser {@link keep keeps} for a task; null if there
   * are none. Starts no worker, and asks no server. Rejects with `no-storage` or
   * `invalid-options`.
   */
  static async kept(place: Place): Promise<Kept | null> {
    return keptFiles(checkPlace('kept', place, globalThis.location?.href), BROWSER).kept();
  }

  /**
   * Removes the files that this browser keeps for a task, if there are any, and the part of
   * its updates that a sparse codec has not sent. A client that trains goes on, and may keep
   * such a part again. Rejects as {@link kept} does.
   */
  static async forget(place: Place): Promise<void> {
    return keptFiles(checkPlace('forget', place, globalThis.location?.href), BROWSER).forget();
  }

  /**
   * The person's consent to a task that this browser keeps; null if there is none. Rejects with
   * `no-storage` or `invalid-options`, as {@link revoke} and {@link sent} do.
   */
  static async consent(place: Place): Promise<ConsentRecord | null> {
    return consentTo(checkPlace('consent', place, globalThis.location?.href), BROWSER).read();
  }

  /**
   * Withdraws the consent that this browser keeps for a task: every client with such a consent,
   * in this tab and in others, ends with `consent-revoked`. The consent is forgotten, and what
   * {@link forget} removes; the log of what was {@link sent} stays.
   */
  static async revoke(place: Place): Promise<void> {
    return revoke(checkPlace('revoke', place, globalThis.location?.href), BROWSER);
  }

  /** The log of what has left this browser for a task, round by round. Starts no worker, and asks no server. */
  static async sent(place: Place): Promise<Sent> {
    return sentIn(checkPlace('sent', place, globalThis.location?.href), BROWSER).read();
  }

  /** The newest event of a kind, for listeners that come late. */
  latest<T extends ClientEventType>(type: T): ClientEventOf<T> | undefined {
    return this.#latest.get(type) as ClientEventOf<T> | undefined;
  }

  /**
   * Gives the client its examples, in place of any earlier ones, and with them a part
   * in the rounds that follow: as arrays, or as files of the kind that the task describes,
   * which the worker reads. Resolves when the task is known and the data fit it.
   * Rejects with `bad-dataset` if they do not, `timeout` if the task did not become
   * known in time, `aborted`, `closed`, `invalid-options`, or the code of the error
   * that ended the session. After a rejection the client goes on with what it had.
   */
  async train(data: TrainingData | TrainingFiles | TrainingImages, options: TrainOptions = {}): Promise<void> {
    const { transfer, layout, reading, ...rest } = checkTraining(options);
    let message: (id: number) => GivenData;
    if (isFiles(data)) {
      checkFileOptions('train', options);
      const checked = checkFiles(data, this.#options.base);
      message = (id) => ({ type: 'files', id, options: reading, ...checked });
    } else {
      const checked = checkDataset(data, layout);
      message = (id) => ({ type: 'dataset', id, ...(transfer ? takenOver(checked) : copied(checked)) });
    }
    await this.#give(message, rest);
  }

  /**
   * Keeps the files that the client trains on in this browser, in place of those that it kept
   * for this task, and with them the options of their reading. They are there for
   * {@link trainKept} at a later visit, until {@link forget}. Nothing is sent. Rejects with
   * `nothing-to-keep` where the client has no files, `bad-dataset` where one has changed or
   * gone since it was chosen, `storage-full`, `no-storage` or `closed`; then the files that
   * were kept before stay.
   */
  async keep(): Promise<Kept> {
    if (this.#ended || this.#closing) throw closed('the client');
    const { taken } = this.#data;
    if (taken?.type !== 'files') {
      const message = 'the client trains on no files: call keep once train has taken some; arrays are not kept';
      throw new FedraError('nothing-to-keep', message);
    }
    return this.#kept.keep(taken.files, taken.options);
  }

  /**
   * Gives the client the files that this browser keeps, as {@link train} does: they are read
   * as the task describes its data now. Rejects as `train` does, and with `nothing-kept` or
   * `no-storage`.
   */
  async trainKept(options: TrainKeptOptions = {}): Promise<void> {
    const checked = checkTrainingKept(options);
    const kept = await this.#kept.entry();
    if (!kept) {
      const message = `this browser keeps no files for the task ${this.#options.task}: give some with train, and call keep`;
      throw new FedraError('nothing-kept', message);
    }
    await this.#give((id) => ({ type: 'files', id, files: kept.files, options: kept.options }), checked);
  }

  /**
   * Reads files as the task describes them and gives them to the page, as the model would
   * see them: to show, or to predict. The client does not train on them. Rejects as
   * {@link train} does.
   */
  async read(data: TrainingFiles | TrainingImages, options: ReadOptions = {}): Promise<ReadData> {
    checkFileOptions('read', options);
    const { reading, ...rest } = checkTraining(options);
    const files = checkFiles(data, this.#options.base);
    const answer = await this.#ask('read', rest, (id) => this.#post({ type: 'read', id, options: reading, ...files }));
    if (!answer.data) throw new FedraError('worker-failed', 'the worker has read nothing');
    return answer.data;
  }

  async #give(message: (id: number) => GivenData, waiting: Waiting): Promise<void> {
    await this.#ask('dataset', waiting, (id) => {
      const given = message(id);
      this.#data.give(given);
      this.#post(given);
    });
  }

  /** Has the worker do what waits for the task, with a limit of time, until it is given up. */
  async #ask(kind: 'dataset' | 'read', { timeout, signal, onReading }: Waiting, send: (id: number) => void): Promise<Answer> {
    if (signal?.aborted) throw aborted(signal);
    if (this.#ended || this.#closing) throw closed('the client');
    let id = 0;
    let given: FedraError | undefined;
    const giveUp = (why: FedraError) => {
      given = why;
      this.#withdrawn.add(id);
      this.#ifOpen(() => this.#post({ type: 'withdraw', id }));
    };
    const settled = new AbortController();
    const timer = timeout > LONGEST_MS ? undefined : setTimeout(() => giveUp(tooLate(this.#options.task, timeout, this)), timeout);
    signal?.addEventListener('abort', () => giveUp(aborted(signal)), { signal: settled.signal });
    try {
      return await this.#requests.ask(kind, (number) => {
        id = number;
        this.#readings.set(id, (progress) => {
          // The task is known, and the rest takes as long as the files are large.
          clearTimeout(timer);
          onReading?.(progress);
        });
        send(id);
      });
    } catch (error) {
      const withdrawn = error instanceof FedraError && error.code === 'aborted';
      throw (withdrawn && given) || error;
    } finally {
      clearTimeout(timer);
      settled.abort();
      this.#withdrawn.delete(id);
      this.#readings.delete(id);
    }
  }

  /**
   * Predicts one or more examples with the newest global model, `outputs` values for
   * each: probabilities of a classifier, values of a regression. Needs no data, and
   * works in a finished task. Rejects with `bad-input` or `closed`, or as the module
   * says: `no-model` before the first `model` event, `bad-features`, `out-of-memory`. A call whose
   * worker crashes rejects with `worker-failed`; the client goes on. A signal that is aborted
   * ends the wait with `aborted`.
   */
  async predict(features: Features, options: PredictOptions = {}): Promise<Float32Array> {
    const own = checkFeatures(features).slice();
    const { isPersonal, signal } = checkPredicting(options);
    const personal = isPersonal ? ({ personal: true } as const) : {};
    const send = (id: number) => this.#post({ type: 'predict', id, features: own, ...personal }, [own.buffer]);
    const answer = await this.#requests.ask('predict', send, signal);
    return answer.probabilities ?? new Float32Array();
  }

  /**
   * Trains the last layer of the newest global model further on this device's own examples,
   * on the CPU. The result stays in this client, in place of an earlier one, until the client
   * ends; {@link predict} asks it with `{ model: 'personal' }`. Nothing of it leaves the device.
   *
   * Both models are scored on examples that are held out: those of the task, or a fifth of the
   * examples where the task holds out none. In that case the global model may have been trained
   * on them.
   *
   * Rejects with `invalid-options`, `no-model` before the first `model` event, `bad-dataset`
   * without examples, `training-failed`, `model-unavailable`, `out-of-memory`, `closed`, or
   * `worker-failed` if the worker crashes.
   */
  async personalize(options: PersonalizeOptions = {}): Promise<Personalization> {
    const { signal, ...plan } = checkPersonalizing(options);
    if (this.#ended || this.#closing) throw closed('the client');
    const answer = await this.#requests.ask('personalize', (id) => this.#post({ type: 'personalize', id, ...plan }), signal);
    if (!answer.personalization) throw new FedraError('worker-failed', 'the worker has made no personal model');
    return answer.personalization;
  }

  /**
   * Rounds that end from now on, each once, for `for await`. The iteration ends when the client
   * closes; `break` ends it before. It rejects with `aborted` when the signal is, and with the
   * code of a fatal error. At most 64 rounds wait for a slow loop: of more the oldest are
   * dropped, and `missed` of the next one counts them.
   */
  rounds(options: WaitOptions = {}): AsyncIterableIterator<FinishedRound> {
    return new Rounds(this, checkWait('rounds', options));
  }

  /** Takes no part in further rounds until {@link resume}. */
  pause(): void {
    this.#rest(true);
  }

  /** Takes part again, once no rule is against it. */
  resume(): void {
    this.#rest(false);
  }

  #rest(isHeld: boolean): void {
    if (this.#ended || this.#closing) throw closed('the client');
    this.#manners.rest('page', isHeld);
  }

  /** Leaves the task and ends the worker. Resolves when it has ended. */
  close(): Promise<void> {
    this.#closing ??= this.#ended ? Promise.resolve() : this.#leave();
    return this.#closing;
  }

  /** Calls {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The first message to a worker that starts now. */
  #start(backend: BackendChoice): Extract<ToWorker, { type: 'start' }> {
    const { address, task, token, modules } = this.#options;
    const asks = token === undefined ? 'none' : 'ask';
    const config: ClientConfig = { url: address.socket, task, backend, privacy: this.#privacy.config(), token: asks };
    return { type: 'start', config, ...(modules ? { modules } : {}) };
  }

  /** Starts the worker, or follows the tab that leads. */
  async #open(signal: AbortSignal | undefined): Promise<void> {
    const joining = this.#manners.join();
    const leads = typeof joining === 'boolean' ? joining : await joining;
    if (signal?.aborted) throw aborted(signal);
    if (leads) {
      const spawned = spawn(this.#options.worker);
      this.#worker = spawned.worker;
      await started(spawned, this.#start(this.#options.backend), signal);
    }
    this.#listen();
    if (this.#manners.isHeld) this.#post({ type: 'pause' });
    this.#manners.opened(leads);
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
    if (this.#ended || this.#closing) throw closed('the client');
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'event':
        if (!this.#readsAgain(message.event)) this.#emit(message.event);
        break;
      case 'done':
      case 'refused':
        this.#data.answered(message.id, message.type === 'done');
        // Data that a new worker is given again answer no call.
        if (this.#requests.answer(message)) this.#crashes.inCall = 0;
        else if (message.type === 'refused' && message.code === 'bad-dataset') {
          this.#emit({ type: 'error', code: message.code, message: message.message, fatal: false });
        }
        break;
      case 'reading': {
        const { bytes, total, examples } = message;
        this.#readings.get(message.id)?.({ bytes, total, examples });
        break;
      }
      case 'ask-token':
        void this.#answerToken(message.id, this.#worker);
        break;
      case 'record': {
        const answer = this.#privacy.record(message);
        this.#ifOpen(() => this.#post(answer));
        break;
      }
      case 'closed':
        this.#end();
        break;
      case 'failed':
        this.#fail(message.message, message.code);
        break;
      case 'started':
        this.#running = true;
        break;
      case 'loaded':
        break;
    }
  }

  /** Fetches a token for the worker that asked. Another may have taken its place by then. */
  async #answerToken(id: number, worker: WorkerLike): Promise<void> {
    const answer = await answerToken(this.#options.token, id);
    this.#ifOpen(() => {
      if (worker === this.#worker) this.#post(answer);
    });
  }

  /**
   * Reads the files again if that is the remedy for an event: the operator has changed the
   * task, and they no longer fit as they were read. Files that do not fit after that either
   * are an event, until the task is told again.
   */
  #readsAgain(event: InnerEvent): boolean {
    if (event.type === 'task') this.#mayReadAgain = true;
    const { taken, isWaiting } = this.#data;
    const unfit = event.type === 'error' && event.code === 'bad-dataset' && !event.fatal;
    if (!unfit || taken?.type !== 'files' || isWaiting || !this.#mayReadAgain) return false;
    this.#mayReadAgain = false;
    const waiting = { timeout: Infinity, signal: undefined, onReading: undefined };
    this.#give((id) => ({ ...taken, id }), waiting).catch(({ code, message }: FedraError) => {
      // Other data were given meanwhile, or the client has ended.
      if (code !== 'aborted' && code !== 'closed') this.#emit({ type: 'error', code, message, fatal: false });
    });
    return true;
  }

  /** Takes an event of this client. */
  #emit(told: InnerEvent): void {
    const event: ClientEvent = told.type === 'error' ? { ...told, remedy: REMEDIES[told.code] } : told;
    if (event.type === 'update' && event.outcome === 'accepted') Object.assign(this.#crashes, { inCall: 0, alone: 0 });
    this.#show(this.#manners.take(event));
  }

  #show(event: ClientEvent): void {
    this.#latest.set(event.type, event);
    this.dispatchEvent(new CustomEvent(event.type, { detail: event }));
  }

  /** Ends a worker that failed. Another takes its place, unless it did not start or keeps crashing. */
  #fail(message: string, code: FedraErrorCode = 'worker-failed'): void {
    if (this.#ended) return;
    const crashes = ++this.#crashes[this.#requests.size > 0 ? 'inCall' : 'alone'];
    if (this.#running && crashes < MOST_CRASHES && !this.#closing) return this.#startAgain(message);
    this.#emit({ type: 'error', code, message, fatal: true });
    this.#end();
  }

  /**
   * A graphics driver can take the whole module down, and so can a call for which there
   * is no memory. Another worker starts over on the CPU, with the data.
   */
  #startAgain(reason: string): void {
    this.#replace(new StandIn(), reason);
    const message = `the worker failed (${reason}) and is started again on the CPU, with the data`;
    this.#emit({ type: 'error', code: 'worker-failed', message, fatal: false });
    // A listener may have closed the client, and the worker that would say so is gone.
    if (this.#closing || this.#ended) return this.#end();
    this.#begin('cpu');
  }

  /** Puts another worker in the place of the one that was there. */
  #replace(worker: WorkerLike, reason: string): void {
    this.#worker.onmessage = null;
    this.#worker.terminate();
    this.#worker = worker;
    for (const kind of ['predict', 'personalize', 'read'] as const) this.#requests.rejectAll(crashed(reason), kind);
    this.#listen();
  }

  /** Starts a worker after {@link connect} has resolved, with the data. */
  #begin(backend: BackendChoice): void {
    this.#running = false;
    try {
      this.#replace(spawn(this.#options.worker).worker, 'another worker takes its place');
    } catch (cause) {
      return this.#fail(wordsOf(cause));
    }
    this.#post(this.#start(backend));
    for (const data of this.#data.all) this.#post(data);
    for (const id of this.#withdrawn) this.#post({ type: 'withdraw', id });
    if (this.#manners.isHeld) this.#post({ type: 'pause' });
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
    this.#manners.end();
    this.#requests.rejectAll(closed('the client'));
    this.#data.clear();
    if (this.latest('status')?.state !== 'closed') this.#emit({ type: 'status', state: 'closed' });
    this.#onEnded();
  }
}
