/**
 * Runs the visitor's session: watches the task, fetches the examples, holds the
 * client, and keeps the page's state. It must not touch the DOM beyond
 * document.visibilityState, nor do work that a frame would notice.
 */

import type {
  ClientEvent,
  ClientEventType,
  Features,
  PrivacyEvent,
  ReadData,
  Reading,
  TrainingFiles,
  TrainingImages,
  TrainKeptOptions,
} from 'fedra';
import { FedraClient, FedraError } from 'fedra';
import type { Task, TaskSummary } from './api.js';
import { ApiError, fetchTask, fetchTasks } from './api.js';
import { NewestModel } from './newest-model.js';
import type { PageOptions } from './options.js';
import type { DataSession } from './own-data.js';
import type { Picture } from './pictures.js';
import { Pictures } from './pictures.js';
import { floorsOf } from './privacy.js';
import type { Shard } from './shard.js';
import { fetchShard, ShardError, toFeatures } from './shard.js';
import type { PageState, Problem } from './state.js';
import { INITIAL, withEvent, withTask, withTaskChosen } from './state.js';
import type { PagesData, TaskData } from './task-data.js';
import { classesOf, drawPart, fetchPagesData } from './task-data.js';

const EVENTS: readonly ClientEventType[] = [
  'status',
  'backend',
  'task',
  'round',
  'model',
  'progress',
  'update',
  'privacy',
  'traffic',
  'error',
];
const POLL_MS = 4000;
/** Of a tab that takes part one look in so many. */
const RUNNING_POLLS = 5;
/** Quiet time after which pictures that came or went are given to the client. */
const PICTURES_MS = 1200;
/** Classes that the visitor has to show before training makes sense. */
const FEWEST_CLASSES = 2;

/** Gives a client the visitor's own files. */
type Give = (client: FedraClient, options: TrainKeptOptions) => Promise<void>;

/** Dispatches `change` after the state changed, and `shard` when the digits are there. */
export class Session extends EventTarget {
  readonly #options: PageOptions;
  /** The task to take part in; without one, the aggregator's first. */
  #wanted: string | undefined;
  #state = INITIAL;
  #client: FedraClient | undefined;
  /** The model that answers while no client does. */
  readonly #newest: NewestModel;
  #pagesData: Promise<PagesData> | undefined;
  #known: PagesData = {};
  /** The visitor's own files in place of a part of the task's data. The options are of their first reading. */
  #own: { readonly give: Give; readonly options: TrainKeptOptions } | undefined;
  #ownData: { readonly task: string; readonly session: DataSession } | undefined;
  /** The visitor's own pictures. */
  readonly pictures = new Pictures();
  #picturesTimer: ReturnType<typeof setTimeout> | undefined;
  /** Ends the client of the last start, whatever it is doing. */
  #run = new AbortController();
  #shard: Shard | undefined;
  #decide: (agreed: boolean) => void = () => {};

  constructor(options: PageOptions) {
    super();
    this.#options = options;
    this.#wanted = options.task;
    this.#newest = new NewestModel(options.url);
    this.pictures.addEventListener('change', () => this.#picturesChanged());
  }

  get state(): PageState {
    return this.#state;
  }

  get shard(): Shard | undefined {
    return this.#shard;
  }

  /** Follows the task from outside. A client that has started hears of all but the classes. */
  watch(): void {
    void this.#refresh();
    let polls = 0;
    setInterval(() => {
      const own = this.#state.stage === 'running' || this.#state.stage === 'starting';
      polls = own ? (polls + 1) % RUNNING_POLLS : 0;
      if (polls === 0 && document.visibilityState === 'visible') void this.#refresh();
    }, POLL_MS);
  }

  /** Leaves the task that it is in, and looks at another one. Nothing starts by itself. */
  choose(task: string | undefined): void {
    const byDefault = this.#state.tasks[0]?.id;
    if ((task ?? byDefault) === (this.#wanted ?? byDefault)) return;
    this.#stop();
    this.#newest.close();
    this.#wanted = task;
    this.#own = undefined;
    const id = task ?? byDefault;
    this.#set(withTaskChosen(this.#state, id, id === undefined ? undefined : this.#known[id]));
    void this.#refresh();
  }

  /** True if the visitor has to give examples before training can start, or this page has no way to give them. */
  get lacksExamples(): boolean {
    const { kind, data } = this.#state;
    if (kind === 'other') return true;
    if (!data || this.#own) return false;
    if (kind === 'image') return new Set(this.#lessons.map(({ label }) => label)).size < FEWEST_CLASSES;
    return data.parts.length === 0;
  }

  /** The visitor's pictures of this task's classes. */
  get #lessons(): readonly Picture[] {
    return this.pictures.of(...(classesOf(this.#state.data) ?? []));
  }

  /** The session as the visitor's own files need it: another one for each task. */
  ownData(task: string): DataSession {
    const place = { url: this.#options.url, task };
    if (this.#ownData?.task !== task) {
      const session: DataSession = {
        read: async (data, options) => (await this.#reader(task)).read(data, options),
        train: (data, { decimal, ...options }) =>
          this.#use((client, waiting) => client.train(data, { ...waiting, ...(decimal ? { decimal } : {}) }), options),
        trainKept: (options) => this.#use((client, waiting) => client.trainKept(waiting), options),
        keep: async () => (this.#client ?? (await this.#reader(task))).keep(),
        kept: () => FedraClient.kept(place),
        forget: () => FedraClient.forget(place),
      };
      this.#ownData = { task, session };
    }
    return this.#ownData.session;
  }

  /** Takes part with the visitor's own files, from now on until others are given. Rejects if they do not fit. */
  async #use(give: Give, options: TrainKeptOptions): Promise<void> {
    const before = this.#own;
    const { examples } = this.#state;
    this.#own = { give, options };
    try {
      if (this.#state.stage === 'running' && this.#client) await this.#give(this.#client, this.#run.signal);
      else await this.#startWith(options.signal);
      this.#own = { give, options: {} };
      this.#set({ ...this.#state, own: true, shard: undefined });
    } catch (error) {
      this.#own = before;
      this.#set({ ...this.#state, examples });
      throw error;
    }
  }

  async #startWith(signal: AbortSignal | undefined): Promise<void> {
    await this.start();
    if (signal?.aborted) throw new FedraError('aborted', 'the reading was stopped');
    const { stage, problem } = this.#state;
    if (stage !== 'running') throw new Error(problem?.message ?? 'the training did not start');
  }

  /** Fetches the examples, starts the client, gives it the examples. */
  async start(): Promise<void> {
    if (this.#state.stage === 'starting' || this.#state.stage === 'running' || this.lacksExamples) return;
    this.#stop();
    this.#newest.close();
    this.#run = new AbortController();
    const { signal } = this.#run;
    this.#set({ ...this.#state, stage: 'starting', paused: false, problem: undefined, notice: undefined });
    try {
      await this.#takePart(signal);
    } catch (error) {
      if (signal.aborted) return;
      // A client that has ended by itself has reported its reason.
      const { stage, problem } = this.#state;
      this.#stop();
      if (stage === 'before') return;
      // The visitor has stopped the reading of their own files.
      if (error instanceof FedraError && error.code === 'aborted') return this.#set({ ...this.#state, stage: 'before' });
      this.#set({ ...this.#state, stage: 'ended', problem: (stage === 'ended' ? problem : undefined) ?? problemOf(error) });
    }
  }

  async #takePart(signal: AbortSignal): Promise<void> {
    const { url, api, backend } = this.#options;
    const task = this.#wanted ?? this.#state.task?.id ?? first(await fetchTasks(api));
    await this.#find(task, signal);
    if (signal.aborted) return;
    // An address with start=1 gives no examples.
    if (this.lacksExamples) return this.#set({ ...this.#state, stage: 'before' });
    // Digits are there before the client is, so that their absence costs no connection.
    const shard = this.#state.kind === 'digits' ? await this.#digits() : undefined;
    if (signal.aborted) return;
    if (shard) this.#take(shard);
    const floors = floorsOf(this.#state.task?.privacy ?? null);
    const privacy = { ...(floors ? { floors } : {}), consent: (terms: PrivacyEvent) => this.#ask(terms, signal) };
    const client = await FedraClient.connect({ url, task, backend, signal, privacy });
    if (signal.aborted) return void client.close();
    this.#client = client;
    for (const type of EVENTS) {
      client.addEventListener(type, ({ detail }: CustomEvent<ClientEvent>) => {
        if (!signal.aborted) this.#receive(detail);
      });
    }
    this.#set({ ...this.#state, stage: 'running' });
    await this.#give(client, signal);
  }

  /** Gives the client its examples. The client waits for an aggregator that is away, and the page says so meanwhile. */
  async #give(client: FedraClient, signal: AbortSignal): Promise<void> {
    const { data } = this.#state;
    if (data) {
      const { examples: maxExamples } = this.#options;
      const own = this.#own;
      const onReading = (reading: Reading) => {
        if (!signal.aborted) this.#set({ ...this.#state, examples: reading.examples });
        own?.options.onReading?.(reading);
      };
      const signals = [signal, ...(own?.options.signal ? [own.options.signal] : [])];
      const waiting = { timeout: Infinity, signal: AbortSignal.any(signals), onReading };
      if (own) return await own.give(client, waiting);
      return await client.train(this.#files(data), { ...waiting, ...(maxExamples === undefined ? {} : { maxExamples }) });
    }
    const shard = await this.#digits();
    const shape = [shard.count, shard.rows * shard.columns];
    const dataset = { features: toFeatures(shard.pixels), labels: shard.labels, shape };
    await client.train(dataset, { transfer: true, timeout: Infinity, signal });
  }

  /** The visitor's own pictures, or this tab's part of the task's data. */
  #files(data: TaskData): TrainingFiles | TrainingImages {
    if (data.data.kind === 'image') return { images: this.#lessons.map(({ file, label }) => ({ file, label })) };
    const shard = this.#state.shard ?? drawPart(data, this.#options.shard);
    this.#set({ ...this.#state, shard });
    const part = data.parts[shard];
    if (!part) throw new ShardError(`there is no part ${shard}; the page has ${data.parts.length}, counted from 0`);
    return { files: new URL(`data/${part.file}`, document.baseURI) };
  }

  /** Gives a client that takes part other examples. It goes on with those that it had if they do not fit. */
  async #giveAgain(): Promise<void> {
    const client = this.#client;
    const { signal } = this.#run;
    if (!client) return;
    try {
      await this.#give(client, signal);
    } catch (error) {
      if (signal.aborted || (error instanceof FedraError && error.code === 'aborted')) return;
      this.#set({ ...this.#state, notice: { ...problemOf(error), fatal: false } });
    }
  }

  #picturesChanged(): void {
    this.#own = undefined;
    this.#set({ ...this.#state, own: false, examples: this.#lessons.length });
    clearTimeout(this.#picturesTimer);
    this.#picturesTimer = setTimeout(() => {
      if (this.#state.stage === 'running' && !this.lacksExamples) void this.#giveAgain();
    }, PICTURES_MS);
  }

  async #digits(): Promise<Shard> {
    const { shard, examples } = this.#options;
    return this.#shard ?? (await fetchShard(new URL('data/', document.baseURI).href, shard, examples));
  }

  togglePause(): void {
    if (!this.#client || this.#state.stage !== 'running') return;
    if (this.#state.paused) this.#client.resume();
    else this.#client.pause();
    this.#set({ ...this.#state, paused: !this.#state.paused });
  }

  /** The visitor's answer to the terms. */
  answer(agreed: boolean): void {
    if (this.#state.asking) this.#set({ ...this.#state, asking: undefined });
    this.#decide(agreed);
  }

  #ask(terms: PrivacyEvent, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    this.#set({ ...this.#state, asking: terms });
    return new Promise((resolve) => (this.#decide = resolve));
  }

  /** Ends the client, if there is one; its events are no longer heard. */
  #stop(): void {
    this.#run.abort();
    this.#client = undefined;
    this.#decide(false);
  }

  /** The newest shared model's outputs, or null where there is none. */
  predict(features: Features): Promise<Float32Array | null> {
    return this.#answered(async (client, { id, model }) => {
      if (!client) return await this.#newest.predict(id, model.sha256, features);
      this.#newest.close();
      return await client.predict(features);
    });
  }

  /** Files as the model sees them, or null where no client could read them. Rejects with `bad-dataset` for a mistake in them. */
  read(files: TrainingFiles | TrainingImages): Promise<ReadData | null> {
    return this.#answered(async (_, { id }) => await (await this.#reader(id)).read(files));
  }

  /** The client that reads files for the page: the one that takes part, or one that only observes. */
  async #reader(task: string): Promise<FedraClient> {
    const isRunning = this.#state.stage === 'running' && this.#state.model;
    return (isRunning ? this.#client : undefined) ?? (await this.#newest.observer(task));
  }

  /** Asks the client that takes part, if there is one with a model. What fails is told as a notice. */
  async #answered<T>(ask: (client: FedraClient | undefined, task: Task) => Promise<T>): Promise<T | null> {
    const { task, model, stage } = this.#state;
    if (!task) return null;
    try {
      return await ask(model && stage === 'running' ? this.#client : undefined, task);
    } catch (error) {
      if (!(error instanceof FedraError) || error.code === 'bad-dataset') throw error;
      if (error.code !== 'closed') this.#set({ ...this.#state, notice: { code: error.code, message: error.message, fatal: false } });
      return null;
    }
  }

  #take(shard: Shard): void {
    this.#shard = shard;
    this.#set({ ...this.#state, examples: shard.count, shard: shard.index });
    this.dispatchEvent(new Event('shard'));
  }

  #receive(event: ClientEvent): void {
    const before = this.#state.status?.state;
    this.#set(withEvent(this.#state, event));
    const connecting = before === 'reconnecting' || before === 'connecting';
    const away = ['idle', 'connecting', 'reconnecting', 'closed'];
    const back = event.type === 'status' && connecting && !away.includes(event.state);
    // Rounds that went by without this tab are in the task's history only.
    if (back) void this.#refresh();
  }

  async #refresh(): Promise<void> {
    const wanted = this.#wanted;
    try {
      if (this.#state.tasks.length === 0) {
        const tasks = await fetchTasks(this.#options.api);
        this.#set({ ...this.#state, tasks });
      }
      const id = wanted ?? this.#state.tasks[0]?.id;
      if (id === undefined) return;
      await this.#look(id, () => wanted === this.#wanted);
    } catch (error) {
      // Once started, the client itself reports on the connection.
      if (this.#state.stage === 'before' && wanted === this.#wanted) this.#set({ ...this.#state, problem: problemOf(error) });
    }
  }

  /** Waits until the task is in view, however long the aggregator is away. */
  async #find(id: string, signal: AbortSignal): Promise<void> {
    while (this.#state.task?.id !== id && !signal.aborted) {
      try {
        await this.#look(id, () => !signal.aborted);
      } catch (error) {
        if (signal.aborted || !(error instanceof ApiError) || error.code !== 'no-server') throw error;
        this.#set({ ...this.#state, problem: problemOf(error) });
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
  }

  /** Brings the task into view as the aggregator describes it, if it is wanted by then. */
  async #look(id: string, isWanted: () => boolean): Promise<void> {
    this.#pagesData ??= fetchPagesData(new URL('data/', document.baseURI).href);
    const [task, known] = await Promise.all([fetchTask(this.#options.api, id), this.#pagesData]);
    this.#known = known;
    if (!isWanted()) return;
    this.#set(withTask(this.#state, task, known[id]));
    const { kind, stage } = this.#state;
    // Pictures of an earlier look are there.
    if (kind === 'image' && stage === 'before') this.#set({ ...this.#state, examples: this.#lessons.length });
  }

  #set(state: PageState): void {
    this.#state = state;
    this.dispatchEvent(new Event('change'));
  }
}

function first(tasks: readonly TaskSummary[]): string {
  const [task] = tasks;
  if (!task) throw new ApiError('no-task', 'The aggregator has no task.');
  return task.id;
}

function problemOf(error: unknown): Problem {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ApiError || error instanceof FedraError) return { code: error.code, message, fatal: true };
  return { code: error instanceof ShardError ? 'no-digits' : 'unexpected', message, fatal: true };
}
