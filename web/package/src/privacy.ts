/**
 * The page's part in privacy: asks the person before the first round, and
 * keeps count of their rounds. The module checks the task's promise against the
 * floors, not this file.
 */
import type { ConsentForm, ConsentQuestion } from './consent.js';
import { ConsentEntry } from './consent.js';
import type { FedraErrorCode } from './errors.js';
import { wordsOf } from './errors.js';
import type { ClientEvent, ErrorEvent, PrivacyEvent } from './events.js';
import type { ModulePrivacyOptions } from './generated/contract.js';
import type { FromWorker, ToWorker } from './messages.js';
import { Participation } from './participation.js';
import type { Places, Texts } from './stores.js';
import type { CheckedOptions } from './validate.js';

/** Consequences of the person's answer. */
export interface Answers {
  agreed(): void;
  refused(error: Omit<ErrorEvent, 'remedy'>): void;
  /** They agreed, and it is not kept. */
  notKept(error: Omit<ErrorEvent, 'remedy'>): void;
}

/** Follows one client's events. */
export class PrivacyKeeper {
  readonly #options: CheckedOptions;
  readonly #texts: Texts;
  #participation: Participation;
  readonly #answers: Answers;
  readonly #consent: ConsentEntry;
  /** The form of a consent that is kept. */
  readonly #form: ConsentForm | undefined;
  #unwatch: () => void = () => {};
  /** True if an answer that comes now is not to be kept. */
  #isRevoked = false;
  /** The question, until it has been asked. */
  #question: ConsentQuestion | ConsentForm | undefined;
  #granted: boolean;

  constructor(options: CheckedOptions, places: Places, answers: Answers) {
    const { address, task, consent } = options;
    this.#options = options;
    this.#answers = answers;
    this.#texts = places.texts;
    this.#participation = new Participation(address.socket, task, places.texts);
    this.#consent = new ConsentEntry(address.socket, task, places);
    this.#granted = consent === 'granted';
    this.#question = consent === 'granted' ? undefined : consent;
    this.#form = typeof consent === 'object' ? consent : undefined;
    this.watch();
  }

  /** Listens for the revocation of a consent that is kept, until {@link end}. */
  watch(): void {
    if (!this.#form) return;
    const message = 'the consent to this task was withdrawn, so this browser takes no part in it';
    this.#unwatch = this.#consent.watch(() => {
      this.#isRevoked = true;
      this.#answers.refused(refusal('consent-revoked', message));
    });
  }

  /** True if a kept consent is needed, and not known to be there. */
  get isOpen(): boolean {
    return this.#form !== undefined && !this.#granted;
  }

  /** True once the person is asked. */
  get isAsked(): boolean {
    return this.#question === undefined;
  }

  /**
   * Begins again after other tabs may have taken part, or revoked the consent. A function that
   * has answered is not asked again.
   */
  restart(): void {
    const { address, task } = this.#options;
    this.#participation = new Participation(address.socket, task, this.#texts);
    if (!this.#form) return;
    this.#granted = false;
    this.#question = this.#form;
  }

  end(): void {
    this.#unwatch();
  }

  /** The privacy options of a module that starts now. */
  config(): ModulePrivacyOptions {
    const { floors, examples } = this.#options;
    return {
      ...(floors ? { floors } : {}),
      ...(examples ? { examples } : {}),
      consent: this.#granted ? 'granted' : 'ask',
      participations: this.#participation.count,
      subject: this.#participation.subject,
    };
  }

  /** Takes every event before the page does. */
  see(event: ClientEvent): void {
    // Nothing is kept for a task without privacy, not even a name.
    const terms = event.type === 'privacy' && event.policy !== 'none' ? event : undefined;
    if (terms) this.#participation.claim();
    if (this.#participation.replaced) return this.#giveWay();
    const question = this.#question;
    // A consent that is kept is needed without privacy all the more.
    const asks = this.#form && event.type === 'privacy' ? event : terms;
    if (!asks || !question) return;
    this.#question = undefined;
    void this.#ask(question, asks);
  }

  /** Ends the client as the server would, if it knew that both are one browser. */
  #giveWay(): void {
    const error = refusal('refused-replaced', 'another tab of this browser takes part in this task, and together they would count as two');
    // Not at once: the listeners of this event come first.
    queueMicrotask(() => this.#answers.refused(error));
  }

  /** Stores the count of rounds. The module waits for this answer before it sends an update of a private round. */
  record({ id, participations }: Extract<FromWorker, { type: 'record' }>): ToWorker {
    try {
      this.#participation.record(participations);
      return { type: 'recorded', id };
    } catch (cause) {
      if (this.#participation.replaced) this.#giveWay();
      return { type: 'not-recorded', id, message: `the count of rounds cannot be stored: ${wordsOf(cause)}` };
    }
  }

  async #ask(question: ConsentQuestion | ConsentForm, terms: PrivacyEvent): Promise<void> {
    const form = typeof question === 'object' ? question : undefined;
    const put = typeof question === 'object' ? question.ask : question;
    try {
      if (form && (await this.#consent.holds(form, terms))) return this.#agree();
      // Not at once: the listeners of this event come first.
      const answer: unknown = await Promise.resolve(terms).then(put);
      if (answer === true) {
        if (form && !this.#isRevoked) await this.#keep(form, terms);
        this.#agree();
      } else {
        this.#answers.refused(
          refusal('privacy-declined', 'the terms of this private task were not agreed to, so this browser takes no part in it'),
        );
      }
    } catch (error) {
      this.#answers.refused(refusal('consent-failed', `the consent callback failed, which counts as no: ${wordsOf(error)}`));
    }
  }

  #agree(): void {
    this.#granted = true;
    this.#answers.agreed();
  }

  /** Keeps the consent. Where that fails it holds for this client alone. */
  async #keep(form: ConsentForm, terms: PrivacyEvent): Promise<void> {
    try {
      await this.#consent.keep(form, terms);
    } catch (error) {
      this.#answers.notKept({
        type: 'error',
        code: 'no-storage',
        message: `${wordsOf(error)}; it holds for this client alone`,
        fatal: false,
      });
    }
  }
}

function refusal(code: FedraErrorCode, message: string): Omit<ErrorEvent, 'remedy'> {
  return { type: 'error', code, message, fatal: true };
}
