/**
 * Election among the tabs of a site that want to take part in the same task: one leads, the
 * others show its events, and one of them takes its place when it ends. It must not start
 * a worker.
 */
import { FedraError } from './errors.js';
import type { ClientEvent } from './events.js';
import type { FromWorker, ToWorker } from './messages.js';

/** Number of this browser's tabs that take part in a task at a time. */
export type TabChoice = 'one' | 'each';

/** Checks the option `tabs`. */
export function checkTabs(tabs: unknown = 'each'): TabChoice {
  if (tabs === 'one' || tabs === 'each') return tabs;
  throw new FedraError('invalid-options', "tabs must be 'one' or 'each'");
}

type Message =
  /** An event of the tab that leads. */
  | { readonly event: ClientEvent }
  /** A tab has come that asks for the newest events, and waits for the lead. */
  | { readonly asks: true };

/** The tab's place among the others. */
export interface TabPlace {
  /** It leads from now on. */
  leads(): void;
  /** It has given the lead up to another tab. */
  follows(): void;
  /** The tab that leads has told an event. */
  hears(event: ClientEvent): void;
  /** The newest events, for a tab that has just come. */
  newest(): Iterable<ClientEvent>;
}

/** One client among those of the same task in this browser. */
export class Tabs {
  readonly #name: string;
  readonly #place: TabPlace;
  #channel: BroadcastChannel | undefined;
  /** Ends the lead, or the wait for it. */
  #term = new AbortController();
  #leads = false;
  #isAside = false;

  /** `socket` is the aggregator's. */
  constructor(socket: string, task: string, place: TabPlace) {
    this.#name = `fedra-tabs:${socket}#${task}`;
    this.#place = place;
  }

  /** Resolves with true if this tab leads at once. If not, it does when its turn comes. */
  async join(): Promise<boolean> {
    // Only a secure context has locks. Elsewhere each tab is alone.
    if (navigator.locks === undefined) return true;
    this.#term = new AbortController();
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#hear(data);
    if (await this.#takes()) return true;
    if (!this.#leads && !this.#isAside) this.#wait();
    return this.#leads;
  }

  /** Steps aside for tabs that can take part now, or waits for the lead again. */
  async stepAside(isAside: boolean): Promise<void> {
    if (this.#isAside === isAside) return;
    this.#isAside = isAside;
    if (!this.#channel) return;
    if (!this.#leads) {
      if (isAside) this.#term.abort();
      else this.#wait();
      return;
    }
    if (!isAside) return;
    const { pending = [] } = await navigator.locks.query();
    if (pending.some(({ name }) => name === this.#name)) this.#yield();
  }

  /** Tells the other tabs an event of the one that leads. */
  tell(event: ClientEvent): void {
    if (this.#leads) this.#channel?.postMessage({ event } satisfies Message);
  }

  /** Gives the lead, or the wait for it, up. */
  leave(): void {
    this.#leads = false;
    this.#term.abort();
    this.#channel?.close();
    this.#channel = undefined;
  }

  /** Takes the lead if no tab has it. */
  #takes(): Promise<boolean> {
    const { signal } = this.#term;
    return new Promise((resolve, reject) => {
      const held = navigator.locks.request(this.#name, { ifAvailable: true }, (lock) => {
        this.#leads = lock !== null && !signal.aborted;
        resolve(this.#leads);
        return this.#leads ? ended(signal) : undefined;
      });
      held.catch(reject);
    });
  }

  /** Waits for the lead, in place of an earlier wait. */
  #wait(): void {
    this.#term.abort();
    const { signal } = (this.#term = new AbortController());
    const turn = navigator.locks.request(this.#name, { signal }, () => {
      if (signal.aborted) return undefined;
      this.#leads = true;
      this.#place.leads();
      return ended(signal);
    });
    // The wait was given up.
    turn.catch(() => undefined);
    this.#channel?.postMessage({ asks: true } satisfies Message);
  }

  /** Gives the lead up to a tab that waits. */
  #yield(): void {
    if (!this.#leads || !this.#isAside) return;
    this.#leads = false;
    this.#place.follows();
    this.#term.abort();
  }

  #hear(message: Message): void {
    if ('event' in message) {
      if (!this.#leads) this.#place.hears(message.event);
      return;
    }
    for (const event of this.#place.newest()) this.tell(event);
    this.#yield();
  }
}

function ended(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Parts of a worker that a client uses. */
export type WorkerLike = Pick<Worker, 'onmessage' | 'onerror' | 'onmessageerror' | 'postMessage' | 'terminate'>;

/**
 * A worker's stand-in while another tab leads, or the page is in the back/forward cache. It
 * takes data as they are, for the worker that will check them, and refuses what needs a model.
 */
export class StandIn implements WorkerLike {
  onmessage: Worker['onmessage'] = null;
  onerror: Worker['onerror'] = null;
  onmessageerror: Worker['onmessageerror'] = null;

  postMessage(message: ToWorker): void {
    switch (message.type) {
      case 'dataset':
      case 'files':
        this.#say({ type: 'done', id: message.id });
        break;
      case 'read':
      case 'predict':
      case 'personalize': {
        const words = 'another tab of this browser takes part, and has the model; FedraClient.load gives this tab one to predict with';
        this.#say({ type: 'refused', id: message.id, code: 'other-tab', message: words });
        break;
      }
      case 'close':
        this.#say({ type: 'closed' });
        break;
    }
  }

  terminate(): void {
    this.onmessage = null;
  }

  /** Answers later, as a worker does. */
  #say(data: FromWorker): void {
    queueMicrotask(() => this.onmessage?.call(this as unknown as Worker, { data } as MessageEvent<FromWorker>));
  }
}
