/** The orders that an operator can give to a task, each behind a button. */
import { html, nothing } from 'lit';
import type { TemplateResult } from 'lit';
import { LightElement } from '../../components/light-element.js';
import type { Desk } from '../desk.js';
import { INITIAL, possible } from '../state.js';
import type { Action, DeskState } from '../state.js';
import { refusedWords } from '../words.js';
import type { ModalDialog } from './modal-dialog.js';
import { outcome } from './outcome.js';
import './questions.js';
import { save } from './save.js';

const LABELS: Partial<Record<Action, string>> = { 'roll-back': 'Roll back', export: 'Export model', stop: 'Stop' };

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
        ${this.#button(pauses, pauses === 'pause' ? 'Pause' : 'Resume', can, () => void this.desk?.operate(pauses))}
        ${this.#button('roll-back', LABELS['roll-back'], can, () => this.#ask('fedra-roll-back-question'))}
        ${this.#button('export', LABELS.export, can, () => this.#ask('fedra-export-question'))}
        ${this.#button('stop', LABELS.stop, can, () => this.#ask('fedra-stop-question'))}
      </div>
      ${outcome(this.state, ['pause', 'resume', 'roll-back', 'export', 'stop'])}
      <fedra-stop-question .task=${operated} @stop=${() => void this.desk?.operate('stop')}></fedra-stop-question>
      <fedra-roll-back-question .task=${operated} @round=${({ detail }: CustomEvent<number>) => void this.desk?.rollBack(detail)}></fedra-roll-back-question>
      <fedra-export-question .task=${operated} @round=${({ detail }: CustomEvent<number>) => void this.desk?.exportModel(detail, save)}></fedra-export-question>
    `;
  }

  /** Stays where it is while it works, so that the keyboard's focus stays on it. */
  #button(action: Action, label: string | undefined, can: readonly Action[], press: () => void): TemplateResult {
    const { busy } = this.state;
    const toggles = action === 'pause' || action === 'resume';
    const ready = busy === undefined && can.includes(action);
    return html`<button
      class="order ${action === 'stop' ? 'danger' : toggles ? 'strong' : ''}"
      id=${toggles ? 'toggle' : action}
      aria-disabled=${ready ? nothing : 'true'}
      aria-busy=${busy === action}
      @click=${() => ready && press()}
    >
      ${label}
    </button>`;
  }

  #ask(question: string): void {
    this.querySelector<ModalDialog>(question)?.show();
  }
}

customElements.define('fedra-operate', Operate);
