/** The orders that an operator can give to a task, each behind a button. */

import type { PropertyValues, TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { LightElement } from '../../components/light-element.js';
import type { OperatedTask } from '../../generated/http-api.js';
import type { Operation } from '../api.js';
import type { Desk } from '../desk.js';
import type { Action, DeskState } from '../state.js';
import { hasToWait, INITIAL, possible } from '../state.js';
import { refusedWords } from '../words.js';
import type { ModalDialog } from './modal-dialog.js';
import { outcome } from './outcome.js';
import './questions.js';
import type { TaskRound } from './questions.js';
import { save } from './save.js';

const LABELS: Partial<Record<Action, string>> = { 'roll-back': 'Roll back', export: 'Export model', stop: 'Stop' };

const QUESTIONS = 'fedra-stop-question, fedra-roll-back-question, fedra-export-question';

/** Dispatches `sign-in` if a visitor wants to. */
export class Operate extends LightElement {
  static override properties = { state: { attribute: false }, desk: { attribute: false } };
  declare state: DeskState;
  declare desk: Desk | undefined;

  constructor() {
    super();
    this.state = INITIAL;
    this.desk = undefined;
  }

  /** Closes an open question when the browser's history changes the task: its answer would be for the other one. */
  protected override willUpdate(changed: PropertyValues<this>): void {
    const before = changed.get('state');
    if (!before || before.task?.id === this.state.task?.id) return;
    for (const question of this.querySelectorAll<ModalDialog>(QUESTIONS)) question.hide();
  }

  protected override render(): TemplateResult {
    const { operated, access, refused } = this.state;
    if (access !== 'operator') {
      const why = refused ? refusedWords(refused) : 'Pausing, rolling back, exporting and stopping take the operator’s token.';
      return html`<div class="orders">
        <button class="order strong" id="ask-token" @click=${() => this.dispatchEvent(new CustomEvent('sign-in'))}>Sign in</button>
        <p class="beside">${why}</p>
      </div>`;
    }
    const can = operated ? possible(operated) : [];
    const pauses = can.includes('resume') ? 'resume' : 'pause';
    return html`
      <div class="orders" role="group" aria-label="Orders">
        ${this.#button(pauses, pauses === 'pause' ? 'Pause' : 'Resume', can, () => this.#order(operated, pauses))}
        ${this.#button('roll-back', LABELS['roll-back'], can, () => this.#ask('fedra-roll-back-question'))}
        ${this.#button('export', LABELS.export, can, () => this.#ask('fedra-export-question'))}
        ${this.#button('stop', LABELS.stop, can, () => this.#ask('fedra-stop-question'))}
      </div>
      ${outcome(this.state, ['pause', 'resume', 'roll-back', 'export', 'stop'])}
      <fedra-stop-question .task=${operated} @stop=${({ detail }: CustomEvent<string>) => void this.desk?.operate(detail, 'stop')}></fedra-stop-question>
      <fedra-roll-back-question .task=${operated} @round=${({ detail }: CustomEvent<TaskRound>) => void this.desk?.rollBack(detail.id, detail.round)}></fedra-roll-back-question>
      <fedra-export-question .task=${operated} @round=${({ detail }: CustomEvent<TaskRound>) => void this.desk?.exportModel(detail.id, detail.round, save)}></fedra-export-question>
    `;
  }

  /** A button that stays in its place while its order is under way, so that it keeps the keyboard's focus. */
  #button(action: Action, label: string | undefined, can: readonly Action[], press: () => void): TemplateResult {
    const { busy, exporting } = this.state;
    const toggles = action === 'pause' || action === 'resume';
    const ready = !hasToWait(this.state, action) && can.includes(action);
    return html`<button
      class="order ${action === 'stop' ? 'danger' : toggles ? 'strong' : ''}"
      id=${toggles ? 'toggle' : action}
      aria-disabled=${ready ? nothing : 'true'}
      aria-busy=${action === 'export' ? exporting : busy === action}
      @click=${({ detail }: MouseEvent) => {
        // The second of a double click would find Resume where Pause was.
        if (ready && detail < 2) press();
      }}
    >
      ${label}
    </button>`;
  }

  #order(operated: OperatedTask | undefined, operation: Operation): void {
    if (operated) void this.desk?.operate(operated.id, operation);
  }

  #ask(question: string): void {
    this.querySelector<ModalDialog>(question)?.show();
  }
}

customElements.define('fedra-operate', Operate);
