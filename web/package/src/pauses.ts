/**
 * Reasons for which a client rests: the page's wish, an answer that is awaited, and rules about
 * the tab and the device. It must not touch the browser before {@link PauseRules.start}.
 */
import { FedraError } from './errors.js';
import type { ClientEvent, PauseReason } from './events.js';

/** Rules by which a client rests on its own. A browser that does not tell what a rule asks for does not follow it. */
export interface PauseOptions {
  /** Rest in a tab in the background. Default false. */
  readonly hidden?: boolean;
  /** Rest while the battery is below this share and not charging; false never. Default 0.2. */
  readonly battery?: number | false;
  /** Rest while the person asks sites to save data. Default true. */
  readonly saveData?: boolean;
  /** Rest on a mobile network. Default true. */
  readonly metered?: boolean;
}

export type CheckedPauses = Required<PauseOptions>;

const DEFAULTS: CheckedPauses = { hidden: false, battery: 0.2, saveData: true, metered: true };

/** Checks the option `pauses`. */
export function checkPauses(pauses: unknown = {}): CheckedPauses {
  if (typeof pauses !== 'object' || pauses === null) {
    throw new FedraError('invalid-options', `pauses must be an object with ${Object.keys(DEFAULTS).join(', ')}`);
  }
  const given = Object.entries(pauses).filter(([, value]) => value !== undefined);
  const checked: Record<string, unknown> = { ...DEFAULTS };
  for (const [name, value] of given) {
    if (!(name in DEFAULTS)) {
      throw new FedraError('invalid-options', `pauses has no ${name}; it may have ${Object.keys(DEFAULTS).join(', ')}`);
    }
    const isShare = typeof value === 'number' && value > 0 && value <= 1;
    if (name === 'battery' ? !(value === false || isShare) : typeof value !== 'boolean') {
      const must = name === 'battery' ? 'false or a share above 0, at most 1' : 'true or false';
      throw new FedraError('invalid-options', `pauses.${name} must be ${must}`);
    }
    checked[name] = value;
  }
  return checked as unknown as CheckedPauses;
}

/** Cause of a rest: a rule, the page's `pause`, or a consent that is awaited. */
export type Hold = PauseReason | 'page' | 'consent';

const REASONS: readonly PauseReason[] = ['hidden', 'battery', 'save-data', 'metered'];

/** The holds on one client. It rests while there is one. */
export class Holds {
  readonly #holds = new Set<Hold>();
  readonly #act: (isHeld: boolean) => void;

  /** `act` is called when the first hold comes, and when the last one goes. */
  constructor(act: (isHeld: boolean) => void) {
    this.#act = act;
  }

  get any(): boolean {
    return this.#holds.size > 0;
  }

  /** Sets or lifts a hold. */
  set(hold: Hold, isOn: boolean): void {
    const before = this.any;
    if (isOn) this.#holds.add(hold);
    else this.#holds.delete(hold);
    if (this.any !== before) this.#act(this.any);
  }

  /** A status of the module with the cause of the rest. `isAsked` says that the question for consent is open. */
  explained<Event extends ClientEvent>(event: Event, isAsked: boolean): Event {
    if (event.type !== 'status' || event.state !== 'paused') return event;
    if (this.#holds.has('consent')) return { ...event, state: isAsked ? 'consent' : 'connecting' };
    const { reason: _, ...plain } = event;
    const reason = this.#holds.has('page') ? undefined : REASONS.find((name) => this.#holds.has(name));
    return (reason ? { ...plain, reason } : plain) as Event;
  }
}

interface Battery extends EventTarget {
  readonly level: number;
  readonly charging: boolean;
}

interface Connection extends EventTarget {
  readonly saveData?: boolean;
  readonly type?: string;
}

/** Parts of the browser that the rules ask, where it has them. */
interface Browser {
  readonly document?: EventTarget & { readonly hidden: boolean };
  readonly navigator?: { readonly connection?: Connection; getBattery?(): Promise<Battery> };
}

/** Follows the tab and the device. */
export class PauseRules {
  readonly #rules: CheckedPauses;
  readonly #set: (reason: PauseReason, isOn: boolean) => void;
  readonly #ended = new AbortController();

  constructor(rules: CheckedPauses, set: (reason: PauseReason, isOn: boolean) => void) {
    this.#rules = rules;
    this.#set = set;
  }

  start(): void {
    const { document, navigator } = globalThis as Browser;
    const { hidden, battery, saveData, metered } = this.#rules;
    if (hidden && document) this.#follow(document, ['visibilitychange'], () => this.#set('hidden', document.hidden));
    const connection = navigator?.connection;
    if (connection && (saveData || metered)) {
      this.#follow(connection, ['change'], () => {
        if (saveData) this.#set('save-data', connection.saveData === true);
        if (metered) this.#set('metered', connection.type === 'cellular');
      });
    }
    if (battery !== false) void this.#followBattery(navigator, battery);
  }

  end(): void {
    this.#ended.abort();
  }

  async #followBattery(navigator: Browser['navigator'], least: number): Promise<void> {
    // A policy of the page may deny it.
    const battery = await navigator?.getBattery?.().catch(() => undefined);
    if (!battery || this.#ended.signal.aborted) return;
    this.#follow(battery, ['levelchange', 'chargingchange'], () => this.#set('battery', !battery.charging && battery.level < least));
  }

  #follow(target: EventTarget, events: readonly string[], look: () => void): void {
    for (const event of events) target.addEventListener(event, look, { signal: this.#ended.signal });
    look();
  }
}
