/**
 * A client's place beside the person's other tabs and beside other work of the device: it
 * leads or follows, rests, asks for consent, leaves with the page, and notes what was sent.
 * It must not know the worker.
 */
import type { ClientEvent, StatusEvent } from './events.js';
import type { Hold } from './pauses.js';
import { Holds, PauseRules } from './pauses.js';
import type { PrivacyKeeper } from './privacy.js';
import { SentLog } from './sent.js';
import type { Places } from './stores.js';
import { Tabs } from './tabs.js';
import type { CheckedOptions } from './validate.js';

/** The client, as its manners see it. None of these is called once they have ended. */
export interface Mannered {
  /** Rests, or goes on. */
  rest(isHeld: boolean): void;
  /** Starts a worker: it is this tab's turn. */
  lead(): void;
  /** Ends the worker, while the page is left or another tab leads. */
  leave(): void;
  /** Ends, because another tab has with this event. */
  end(event: ClientEvent): void;
  /** Shows an event to the page. */
  show(event: ClientEvent): void;
  /** The newest status. */
  status(): StatusEvent | undefined;
  /** The newest events. */
  newest(): Iterable<ClientEvent>;
}

export class Manners {
  readonly #client: Mannered;
  readonly #privacy: PrivacyKeeper;
  readonly #holds: Holds;
  readonly #rules: PauseRules;
  readonly #tabs: Tabs | undefined;
  readonly #sent: SentLog;
  readonly #ended = new AbortController();

  constructor({ address, task, tabs, pauses }: CheckedOptions, places: Places, privacy: PrivacyKeeper, client: Mannered) {
    this.#client = client;
    this.#privacy = privacy;
    this.#holds = new Holds((isHeld) => this.#ifGoesOn(() => client.rest(isHeld)));
    this.#rules = new PauseRules(pauses, (reason, isOn) => this.rest(reason, isOn));
    this.#sent = new SentLog(address.socket, task, places.sent);
    if (tabs === 'each') return;
    this.#tabs = new Tabs(address.socket, task, {
      leads: () => this.#ifGoesOn(() => this.#lead()),
      follows: () => this.#ifGoesOn(() => this.#follow()),
      hears: (event) => this.#ifGoesOn(() => this.#hear(event)),
      newest: () => client.newest(),
    });
  }

  /** Gives true if this tab leads, and is to start its worker. Without other tabs to ask it does at once. */
  join(): boolean | Promise<boolean> {
    this.#holds.set('consent', this.#privacy.isOpen);
    return this.#tabs?.join() ?? true;
  }

  /** Begins to follow the page, once the client has opened. */
  opened(leads: boolean): void {
    const at = { signal: this.#ended.signal };
    const page = globalThis as { addEventListener?: Window['addEventListener'] };
    page.addEventListener?.('pagehide', ({ persisted }) => persisted && this.#leavePage(), at);
    page.addEventListener?.('pageshow', ({ persisted }) => persisted && void this.#comeBack(), at);
    if (this.#tabs) this.#client.show({ type: 'tab', leads });
    this.#rules.start();
  }

  /** True while the client is to rest. */
  get isHeld(): boolean {
    return this.#holds.any;
  }

  /** The person has agreed. */
  agreed(): void {
    this.#holds.set('consent', false);
  }

  /** Sets or lifts a cause of rest. */
  rest(hold: Hold, isOn: boolean): void {
    this.#holds.set(hold, isOn);
    // A tab that rests in the background does not keep one in the foreground from it.
    if (hold === 'hidden') void this.#tabs?.stepAside(isOn);
    // The module tells a rest once; another cause of it follows from here.
    const status = this.#client.status();
    const after = status && this.#holds.explained(status, this.#privacy.isAsked);
    if (after && after.reason !== status.reason && this.isHeld) this.#client.show(this.take(after));
  }

  /** Takes an event of the client's own, and returns it as the page gets it. */
  take(told: ClientEvent): ClientEvent {
    const event = this.#holds.explained(told, this.#privacy.isAsked);
    this.#privacy.see(event);
    void this.#sent.see(event);
    this.#tabs?.tell(event);
    return event;
  }

  end(): void {
    this.#ended.abort();
    this.#rules.end();
    this.#privacy.end();
    this.#tabs?.leave();
  }

  #ifGoesOn(act: () => void): void {
    if (!this.#ended.signal.aborted) act();
  }

  #lead(): void {
    this.#privacy.restart();
    this.#holds.set('consent', this.#privacy.isOpen);
    this.#client.lead();
    if (this.#tabs) this.#client.show({ type: 'tab', leads: true });
  }

  #follow(): void {
    this.#client.leave();
    this.#client.show({ type: 'tab', leads: false });
  }

  /** An event of the tab that leads. */
  #hear(event: ClientEvent): void {
    // A no is for all tabs; after any other end this tab tries.
    if (event.type === 'error' && event.fatal) {
      if (event.code === 'privacy-declined') this.#client.end(event);
    } else if (event.type !== 'tab' && !(event.type === 'status' && event.state === 'closed')) this.#client.show(event);
  }

  /** Gives up what keeps a page out of the back/forward cache: the worker's connection, the lock, the channels. */
  #leavePage(): void {
    this.#tabs?.leave();
    this.#privacy.end();
    this.#client.leave();
  }

  async #comeBack(): Promise<void> {
    this.#privacy.watch();
    const leads = (await this.#tabs?.join()) ?? true;
    this.#ifGoesOn(() => (leads ? this.#lead() : this.#client.show({ type: 'tab', leads })));
  }
}
