/**
 * The page's part in privacy: asks the person before the first round, and
 * keeps count of their rounds. The module checks the task's promise against the
 * floors, not this file.
 */
import { wordsOf } from './errors.js';
import type { ClientEvent, ErrorEvent, PrivacyEvent, SessionState } from './events.js';
import type { PrivacyConfig } from './messages.js';
import { Participation } from './participation.js';
import type { CheckedOptions, ConsentQuestion } from './validate.js';

/** Consequences of the person's answer. */
export interface Answers {
  agreed(): void;
  refused(error: ErrorEvent): void;
}

/** States in which the last round is over for this client, if it had begun. */
const BETWEEN_ROUNDS: readonly SessionState[] = ['waiting', 'downloading', 'training', 'paused'];

/** Follows one client's events. */
export class PrivacyKeeper {
  readonly #options: CheckedOptions;
  readonly #participation: Participation;
  readonly #answers: Answers;
  /** The question, until it has been asked. */
  #question: ConsentQuestion | undefined;
  #granted: boolean;

  constructor(options: CheckedOptions, answers: Answers) {
    this.#options = options;
    this.#answers = answers;
    this.#participation = new Participation(options.address.socket, options.task);
    this.#granted = options.consent === 'granted';
    this.#question = options.consent === 'granted' ? undefined : options.consent;
  }

  /** The privacy config of a module that starts now. */
  config(): PrivacyConfig {
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
    if (event.type === 'status') {
      if (event.state === 'sharing') this.#participation.begin();
      if (BETWEEN_ROUNDS.includes(event.state)) this.#participation.abandon();
    }
    // Nothing is kept for a task without privacy, not even a name.
    const terms = event.type === 'privacy' && event.policy !== 'none' ? event : undefined;
    if (terms) this.#participation.reached(terms.participations);
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

  /** Notes that the module has crashed and another one will be started. */
  crashed(): void {
    this.#participation.crashed();
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

function refusal(code: string, message: string): ErrorEvent {
  return { type: 'error', code, message, fatal: true };
}
