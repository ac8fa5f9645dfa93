/**
 * Runs the visitor's session: watches the task, fetches the digits, holds the
 * client, and keeps the page's state. It must not touch the DOM beyond
 * document.visibilityState, nor do work that a frame would notice.
 */

import type { ClientEvent, ClientEventType, Model, PrivacyEvent } from 'fedra';
import { FedraClient, FedraError } from 'fedra';
import type { TaskSummary } from './api.js';
import { ApiError, fetchTask, fetchTasks } from './api.js';
import type { PageOptions } from './options.js';
import { floorsOf } from './privacy.js';
import type { Shard } from './shard.js';
import { fetchShard, ShardError, toFeatures } from './shard.js';
import type { PageState, Problem } from './state.js';
import { INITIAL, withEvent, withTask, withTaskChosen } from './state.js';

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

/** Dispatches `change` after the state changed, and `shard` when the digits are there. */
export class Session extends EventTarget {
  readonly #options: PageOptions;
  /** The task to take part in; without one, the aggregator's first. */
  #wanted: string | undefined;
  #state = INITIAL;
  #client: FedraClient | undefined;
  /** The model that reads digits while no client does, and its hash. */
  #loaded: { readonly hash: string; readonly model: Promise<Model> } | undefined;
  /** Ends the client of the last start, whatever it is doing. */
  #run = new AbortController();
  #shard: Shard | undefined;
  #decide: (agreed: boolean) => void = () => {};

  constructor(options: PageOptions) {
    super();
    this.#options = options;
    this.#wanted = options.task;
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
    this.#forgetModel();
    this.#wanted = task;
    this.#set(withTaskChosen(this.#state));
    void this.#refresh();
  }

  /** Fetches the digits, starts the client, gives it the digits. */
  async start(): Promise<void> {
    if (this.#state.stage === 'starting' || this.#state.stage === 'running') return;
    this.#stop();
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
      this.#set({ ...this.#state, stage: 'ended', problem: (stage === 'ended' ? problem : undefined) ?? problemOf(error) });
    }
  }

  async #takePart(signal: AbortSignal): Promise<void> {
    const { url, api, backend, shard: index, examples } = this.#options;
    const [task, shard] = await Promise.all([
      this.#wanted ?? this.#state.task?.id ?? fetchTasks(api).then(first),
      this.#shard ?? fetchShard(new URL('data/', document.baseURI).href, index, examples),
    ]);
    if (signal.aborted) return;
    this.#take(shard);
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
    const shape = [shard.count, shard.rows * shard.columns];
    // The client waits for an aggregator that is away, and the page says so meanwhile.
    const options = { transfer: true, timeout: Infinity, signal };
    await client.train({ features: toFeatures(shard.pixels), labels: shard.labels, shape }, options);
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

  /** The newest shared model's probabilities, or null where there is none. */
  async read(digit: Float32Array): Promise<Float32Array | null> {
    try {
      if (this.#client && this.#state.model && this.#state.stage === 'running') {
        this.#forgetModel();
        return await this.#client.predict(digit);
      }
      const model = await this.#newestModel();
      return model ? await model.predict(digit) : null;
    } catch (error) {
      if (!(error instanceof FedraError)) throw error;
      if (error.code !== 'closed') this.#set({ ...this.#state, notice: { code: error.code, message: error.message, fatal: false } });
      return null;
    }
  }

  /** The newest model, for a page without a client. It is fetched when it is first needed. */
  async #newestModel(): Promise<Model | undefined> {
    const { task } = this.#state;
    if (!task) return undefined;
    const hash = task.model.sha256;
    if (this.#loaded?.hash !== hash) {
      this.#forgetModel();
      this.#loaded = { hash, model: FedraClient.load({ url: this.#options.url, task: task.id }) };
    }
    const loaded = this.#loaded;
    try {
      return await loaded.model;
    } catch (error) {
      if (this.#loaded === loaded) this.#loaded = undefined;
      throw error;
    }
  }

  #forgetModel(): void {
    void this.#loaded?.model.then(
      (model) => model.close(),
      () => {},
    );
    this.#loaded = undefined;
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
      const task = await fetchTask(this.#options.api, id);
      if (wanted === this.#wanted) this.#set(withTask(this.#state, task));
    } catch (error) {
      // Once started, the client itself reports on the connection.
      if (this.#state.stage === 'before' && wanted === this.#wanted) this.#set({ ...this.#state, problem: problemOf(error) });
    }
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
