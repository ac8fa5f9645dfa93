/**
 * The page's part in privacy: asks the person before the first round, and
 * keeps count of their rounds. The module checks the task's promise against the
 * floors, not this file.
 */
import type { FedraErrorCode } from './errors.js';
import { wordsOf } from './errors.js';
import type { ErrorEvent, InnerEvent, PrivacyEvent } from './events.js';
import type { ModulePrivacyOptions } from './generated/contract.js';
import { Participation } from './participation.js';
import type { Texts } from './stores.js';
import type { CheckedOptions, ConsentQuestion } from './validate.js';

/** Consequences of the person's answer. */
export interface Answers {
  agreed(): void;
  refused(error: Omit<ErrorEvent, 'remedy'>): void;
}

/** Follows one client's events. */
export class PrivacyKeeper {
  readonly #options: CheckedOptions;
  readonly #participation: Participation;
  readonly #answers: Answers;
  /** The question, until it has been asked. */
  #question: ConsentQuestion | undefined;
  #granted: boolean;

  constructor(options: CheckedOptions, texts: Texts, answers: Answers) {
    this.#options = options;
    this.#answers = answers;
    this.#participation = new Participation(options.address.socket, options.task, texts);
    this.#granted = options.consent === 'granted';
    this.#question = options.consent === 'granted' ? undefined : options.consent;
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
  see(event: InnerEvent): void {
    // Nothing is kept for a task without privacy, not even a name.
    const terms = event.type === 'privacy' && event.policy !== 'none' ? event : undefined;
    if (terms) this.#participation.claim();
    if (this.#participation.replaced) return this.#giveWay();
    const question = this.#question;
    if (!terms || !question) return;
    this.#question = undefined;
    void this.#ask(question, terms);
  }

  /** Ends the client as the server would, if it knew that both are one browser. */
  #giveWay(): void {
    const error = refusal('refused-replaced', 'another tab of this browser takes part in this task, and together they would count as two');
    // Not at once: the listeners of this event come first.
    queueMicrotask(() => this.#answers.refused(error));
  }

  /** Stores the count of rounds before an update leaves. Throws where it cannot. */
  record(participations: number): void {
    try {
      this.#participation.record(participations);
    } catch (cause) {
      if (this.#participation.replaced) this.#giveWay();
      throw new Error(`the count of rounds cannot be stored: ${wordsOf(cause)}`, { cause });
    }
  }

  async #ask(question: ConsentQuestion, terms: PrivacyEvent): Promise<void> {
    try {
      // Not at once: the listeners of this event come first.
      const answer: unknown = await Promise.resolve(terms).then(question);
      if (answer === true) {
        this.#granted = true;
        this.#answers.agreed();
      } else {
        this.#answers.refused(
          refusal('privacy-declined', 'the terms of this private task were not agreed to, so this browser takes no part in it'),
        );
      }
    } catch (error) {
      this.#answers.refused(refusal('consent-failed', `the consent callback failed, which counts as no: ${wordsOf(error)}`));
    }
  }
}

function refusal(code: FedraErrorCode, message: string): Omit<ErrorEvent, 'remedy'> {
  return { type: 'error', code, message, fatal: true };
}
