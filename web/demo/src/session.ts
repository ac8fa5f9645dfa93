/**
 * Runs the visitor's session: watches the task, fetches the digits, holds the
 * client, and keeps the page's state. It must not touch the DOM beyond
 * document.visibilityState, nor do work that a frame would notice.
 */
import { FedraClient, FedraError } from 'fedra';
import type { ClientEvent, ClientEventType } from 'fedra';
import { ApiError, fetchTask } from './api.js';
import type { PageOptions } from './options.js';
import { ShardError, fetchShard, toFeatures } from './shard.js';
import type { Shard } from './shard.js';
import { INITIAL, withEvent, withTask } from './state.js';
import type { PageState, Problem } from './state.js';

const EVENTS: readonly ClientEventType[] = [
  'status', 'backend', 'task', 'round', 'model', 'progress', 'update', 'traffic', 'error',
];
const POLL_MS = 4000;

/** Dispatches `change` after the state changed, and `shard` when the digits are there. */
export class Session extends EventTarget {
  readonly #options: PageOptions;
  #state = INITIAL;
  #client: FedraClient | undefined;
  #shard: Shard | undefined;

  constructor(options: PageOptions) {
    super();
    this.#options = options;
  }

  get state(): PageState {
    return this.#state;
  }

  get shard(): Shard | undefined {
    return this.#shard;
  }

  /** Follows the task from outside until the visitor starts. */
  watch(): void {
    void this.#refresh();
    setInterval(() => {
      const own = this.#state.stage === 'running' || this.#state.stage === 'starting';
      if (!own && document.visibilityState === 'visible') void this.#refresh();
    }, POLL_MS);
  }

  /** Fetches the digits, starts the client, gives it the digits. */
  async start(): Promise<void> {
    if (this.#state.stage === 'starting' || this.#state.stage === 'running') return;
    this.#set({ ...this.#state, stage: 'starting', paused: false, problem: undefined });
    try {
      const { url, api, backend } = this.#options;
      const [task, shard] = await Promise.all([
        this.#options.task ?? this.#state.task?.id ?? fetchTask(api, undefined).then(({ id }) => id),
        this.#shard ?? fetchShard(new URL('data/', document.baseURI).href, this.#options.shard, this.#options.examples),
      ]);
      this.#take(shard);
      const client = await FedraClient.connect({ url, task, backend });
      this.#client = client;
      for (const type of EVENTS) client.addEventListener(type, ({ detail }: CustomEvent<ClientEvent>) => this.#receive(detail));
      this.#set({ ...this.#state, stage: 'running' });
      const shape = [shard.count, shard.rows * shard.columns];
      await client.train({ features: toFeatures(shard.pixels), labels: shard.labels, shape }, { transfer: true });
    } catch (error) {
      void this.#client?.close();
      this.#client = undefined;
      // If the client has ended by itself it has said why: that is the problem.
      const told = this.#state.stage === 'ended' ? this.#state.problem : undefined;
      this.#set({ ...this.#state, stage: 'ended', problem: told ?? problemOf(error) });
    }
  }

  togglePause(): void {
    if (!this.#client || this.#state.stage !== 'running') return;
    if (this.#state.paused) this.#client.resume();
    else this.#client.pause();
    this.#set({ ...this.#state, paused: !this.#state.paused });
  }

  /** The newest shared model's probabilities, or null where there is none yet. */
  async read(digit: Float32Array): Promise<Float32Array | null> {
    if (!this.#client || !this.#state.model) return null;
    try {
      return await this.#client.predict(digit);
    } catch (error) {
      if (error instanceof FedraError) return null;
      throw error;
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
    const back = event.type === 'status' && event.state === 'waiting' && (before === 'reconnecting' || before === 'connecting');
    // Rounds that went by without this tab are in the task's history only.
    if (back) void this.#refresh();
  }

  async #refresh(): Promise<void> {
    try {
      const task = await fetchTask(this.#options.api, this.#options.task);
      this.#set(withTask(this.#state, task));
    } catch (error) {
      // Once started, the client itself reports on the connection.
      if (this.#state.stage === 'before') this.#set({ ...this.#state, problem: problemOf(error) });
    }
  }

  #set(state: PageState): void {
    this.#state = state;
    this.dispatchEvent(new Event('change'));
  }
}

function problemOf(error: unknown): Problem {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ApiError || error instanceof FedraError) return { code: error.code, message, fatal: true };
  return { code: error instanceof ShardError ? 'no-digits' : 'unexpected', message, fatal: true };
}
