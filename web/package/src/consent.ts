/**
 * Consent of a person to a task as a record that is kept: one for each task of an aggregator.
 * It must not decide anything: a record says what was agreed to.
 */
import { FedraError, notStored } from './errors.js';
import type { PrivacyEvent } from './generated/contract.js';
import type { Places, Values } from './stores.js';

/**
 * Asked once, with the terms of a task, before its first round. Only `true` lets the client
 * take part.
 */
export type ConsentQuestion = (terms: PrivacyEvent) => boolean | Promise<boolean>;

/** A question whose answer is kept. It is asked again when the text, its version or the terms have changed. */
export interface ConsentForm {
  /** The text that the person is shown. */
  readonly text: string;
  /** Version of the text. */
  readonly version: string;
  /** The question. */
  readonly ask: ConsentQuestion;
}

const TERMS = [
  'policy',
  'secureAggregation',
  'noiseMultiplier',
  'minimumSurvivors',
  'colluders',
  'delta',
  'budgetEpsilon',
  'maxParticipations',
] as const;

/** The terms of a task that are the same in every round. */
export type ConsentTerms = Pick<PrivacyEvent, (typeof TERMS)[number]>;

/** A consent that is kept. */
export interface ConsentRecord {
  /** The text that the person agreed to. */
  readonly text: string;
  /** Version of that text. */
  readonly version: string;
  /** The terms that they agreed to. */
  readonly terms: ConsentTerms;
  /** Time of the answer. */
  readonly since: Date;
}

/** Checks the option `privacy.consent`. */
export function checkConsent(consent: unknown): 'granted' | ConsentQuestion | ConsentForm {
  if (consent === 'granted' || typeof consent === 'function') return consent as 'granted' | ConsentQuestion;
  const { text, version, ask } = (consent ?? {}) as Partial<Record<keyof ConsentForm, unknown>>;
  if (isText(text) && isText(version) && typeof ask === 'function') return { text, version, ask: ask as ConsentQuestion };
  throw new FedraError(
    'invalid-options',
    "privacy.consent must be 'granted', a function that answers true or false, or an object with text, version and ask",
  );
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0;
}

const REVOKED = 'revoked';

/** The record of one task. */
export class ConsentEntry {
  readonly #key: string;
  readonly #store: Values<ConsentRecord>;
  /** Name of the channel by which a withdrawal is told. */
  readonly #channel: string;

  /** `socket` is the aggregator's. */
  constructor(socket: string, task: string, { name, consents }: Pick<Places, 'name' | 'consents'>) {
    this.#key = `${socket}#${task}`;
    this.#store = consents;
    this.#channel = `fedra-consent:${name}${this.#key}`;
  }

  /** The record, if there is one. Rejects with `no-storage`. */
  async read(): Promise<ConsentRecord | null> {
    return (await this.#store.get(this.#key).catch(refuse)) ?? null;
  }

  /** True if the person has agreed to this form and to these terms. */
  async holds(form: ConsentForm, terms: PrivacyEvent): Promise<boolean> {
    // Without storage there is no record either.
    const record = await this.read().catch(() => null);
    return (
      record?.text === form.text && record.version === form.version && TERMS.every((name) => Object.is(record.terms[name], terms[name]))
    );
  }

  /** Keeps the person's agreement in place of an earlier one. Rejects with `no-storage`. */
  async keep({ text, version }: ConsentForm, terms: PrivacyEvent): Promise<void> {
    const agreed = Object.fromEntries(TERMS.map((name) => [name, terms[name]])) as unknown as ConsentTerms;
    const record: ConsentRecord = { text, version, terms: agreed, since: new Date() };
    await this.#store.put(record, this.#key).catch(refuse);
  }

  /** Removes the record, and tells every client of the task that has the same places. Rejects with `no-storage`. */
  async revoke(): Promise<void> {
    // Clients end even where storage fails.
    const channel = new BroadcastChannel(this.#channel);
    channel.postMessage(REVOKED);
    channel.close();
    await this.#store.delete(this.#key).catch(refuse);
  }

  /** Calls `act` when the consent is revoked, in this tab or in another; returns a function that ends that. */
  watch(act: () => void): () => void {
    const channel = new BroadcastChannel(this.#channel);
    channel.onmessage = ({ data }) => data === REVOKED && act();
    return () => channel.close();
  }
}

function refuse(cause: unknown): never {
  throw notStored('this browser keeps no consent', cause);
}
