/**
 * Log of what has left this device: one for each task of an aggregator, an entry for each
 * round. It must not hold an update up: where it cannot be stored, rounds go on.
 *
 * A round has one entry however often its update is sent: another attempt, or another tab,
 * adds its bytes to it.
 */
import { notStored } from './errors.js';
import type { ClientEvent } from './events.js';
import type { PrivacyEvent, PrivacyPolicy, UpdateFate } from './generated/contract.js';
import type { Changing } from './stores.js';

/** A round in which an update has left this device. */
export interface SentRound {
  /** Its number, from 1. */
  readonly round: number;
  /** Time at which the first byte of the update was sent. */
  readonly at: Date;
  /** Bytes sent to the aggregator since the round before. */
  readonly bytes: number;
  /** Privacy policy of the task at that time. */
  readonly policy: PrivacyPolicy;
  /** Cost of the round, taken alone; null without a policy. */
  readonly roundEpsilon: number | null;
  /** Cost of this browser's rounds so far, together. */
  readonly spentEpsilon: number;
  /** Fate of the update, once the aggregator has told it. */
  readonly outcome: UpdateFate | null;
}

/** The log of a task. */
export interface Sent {
  /** The newest rounds, the oldest first; 1,000 at most. */
  readonly rounds: readonly SentRound[];
  /** Rounds before these, and their bytes. */
  readonly earlier: { readonly rounds: number; readonly bytes: number };
}

const MOST_ROUNDS = 1000;
/** Bytes after an update, for example of the unmasking, that are worth a write. */
const LEAST_BYTES = 1024;
const NOTHING: Sent = { rounds: [], earlier: { rounds: 0, bytes: 0 } };

/** The log of one task, as one client writes it. */
export class SentLog {
  readonly #key: string;
  readonly #store: Changing<Sent>;
  #terms: PrivacyEvent | undefined;
  /** Bytes that the module has sent, and those of them that are in the log. */
  #up = 0;
  #unwritten = 0;
  #current: SentRound | undefined;
  #written: Promise<unknown> = Promise.resolve();

  /** `socket` is the aggregator's. */
  constructor(socket: string, task: string, store: Changing<Sent>) {
    this.#key = `${socket}#${task}`;
    this.#store = store;
  }

  /** The log, after what this client has written. Rejects with `no-storage`. */
  async read(): Promise<Sent> {
    try {
      return (await this.#store.get(this.#key)) ?? NOTHING;
    } catch (cause) {
      throw notStored('this browser keeps no log', cause);
    }
  }

  /** Takes every event of the module. Resolves once what follows from it is stored. */
  see(event: ClientEvent): Promise<unknown> {
    switch (event.type) {
      case 'privacy':
        this.#terms = event;
        break;
      case 'traffic':
        // A module that has taken another's place counts from 0.
        this.#unwritten += event.bytesUp < this.#up ? event.bytesUp : event.bytesUp - this.#up;
        this.#up = event.bytesUp;
        if (this.#current && this.#unwritten >= LEAST_BYTES) this.#write(this.#current);
        break;
      case 'status':
        if (event.state === 'uploading' && event.round !== undefined) this.#begin(event.round);
        break;
      case 'update':
        if (this.#current?.round === event.round) this.#write({ ...this.#current, outcome: event.outcome });
        break;
    }
    return this.#written;
  }

  #begin(round: number): void {
    if (this.#current?.round === round) return;
    const { policy = 'none', roundEpsilon = null, spentEpsilon = 0 } = this.#terms ?? {};
    this.#write({ round, at: new Date(), bytes: 0, policy, roundEpsilon, spentEpsilon, outcome: null });
  }

  #write(entry: SentRound): void {
    this.#current = entry;
    const bytes = this.#unwritten;
    this.#unwritten = 0;
    const change = () => this.#store.change(this.#key, (before = NOTHING) => merged(before, { ...entry, bytes }));
    // The log tells of rounds, it does not keep one back.
    this.#written = this.#written.then(change).catch(() => undefined);
  }
}

/** The log with an entry, whose bytes are those that its round does not have yet. */
function merged({ rounds, earlier }: Sent, entry: SentRound): Sent {
  const before = rounds.find(({ round }) => round === entry.round);
  const outcome = before?.outcome === 'accepted' ? before.outcome : (entry.outcome ?? before?.outcome ?? null);
  const row = before ? { ...entry, at: before.at, bytes: before.bytes + entry.bytes, outcome } : entry;
  const all = before ? rounds.map((other) => (other === before ? row : other)) : [...rounds, row];
  const old = all.slice(0, Math.max(0, all.length - MOST_ROUNDS));
  const bytes = old.reduce((sum, { bytes }) => sum + bytes, earlier.bytes);
  return { rounds: all.slice(old.length), earlier: { rounds: earlier.rounds + old.length, bytes } };
}
