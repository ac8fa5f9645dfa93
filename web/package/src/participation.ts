/**
 * Count of the rounds of a task that this browser, or this folder of Node.js, has taken
 * part in. It is stored, since a limit that a reload forgets would be none. It must not touch
 * storage before a client asks.
 *
 * A round is stored before its update leaves: the module waits for it. So a crash can
 * waste a round, never forget one.
 *
 * Clients that are made before any of them has written the entry have a subject
 * each, and would each count from nothing. The client whose entry is there goes on;
 * the others have been replaced.
 */

import type { Texts } from './stores.js';

interface Entry {
  readonly subject: string;
  readonly participations: number;
}

/** One client's view of the entry of its task. */
export class Participation {
  /** 32 hexadecimal digits: names this browser to the task's ledger, and to no other task's. */
  readonly subject: string;
  readonly #key: string;
  readonly #texts: Texts;
  #replaced = false;
  /** The module's last count. Tabs of one site add to one entry. */
  #counted: number;

  constructor(url: string, task: string, texts: Texts) {
    this.#key = `fedra:${url}#${task}`;
    this.#texts = texts;
    const entry = this.#readable();
    this.subject = entry?.subject ?? randomHex(16);
    this.#counted = entry?.participations ?? 0;
  }

  /** The count for a module that starts now. */
  get count(): number {
    return this.#counted;
  }

  /** True once the entry was seen to be another subject's. */
  get replaced(): boolean {
    return this.#replaced;
  }

  /** Makes the entry where there is none, so that later tabs go on with this subject. */
  claim(): void {
    const entry = this.#readable();
    if (entry) {
      this.#replaced ||= entry.subject !== this.subject;
      return;
    }
    try {
      this.#write(this.#counted);
    } catch {
      // The consequence is decided before the first update leaves.
    }
  }

  /** Stores the module's count. Throws where it cannot: then the update must not leave. */
  record(count: number): void {
    const entry = parse(this.#texts.getItem(this.#key));
    if (entry && entry.subject !== this.subject) {
      this.#replaced = true;
      throw new Error('another tab of this browser takes part in this task');
    }
    // Storage may have been cleared in the meantime: this client goes on as it was.
    const stored = entry?.participations ?? this.#counted;
    this.#write(stored + Math.max(0, count - this.#counted));
    this.#counted = Math.max(count, this.#counted);
  }

  #write(participations: number): void {
    const entry: Entry = { subject: this.subject, participations };
    this.#texts.setItem(this.#key, JSON.stringify(entry));
  }

  /** The entry, if storage may be read and has one. */
  #readable(): Entry | undefined {
    try {
      return parse(this.#texts.getItem(this.#key));
    } catch {
      return undefined;
    }
  }
}

function parse(text: string | null): Entry | undefined {
  let entry: unknown;
  try {
    entry = JSON.parse(text ?? 'null');
  } catch {
    return undefined;
  }
  // Version 0.1.0 marked rounds under way, which may have left.
  const { subject, participations, open = [] } = (entry ?? {}) as Partial<Entry> & { readonly open?: readonly unknown[] };
  const whole =
    typeof subject === 'string' &&
    /^[0-9a-f]{32}$/.test(subject) &&
    Number.isSafeInteger(participations) &&
    (participations as number) >= 0 &&
    Array.isArray(open);
  return whole ? { subject, participations: (participations as number) + open.length } : undefined;
}

function randomHex(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
