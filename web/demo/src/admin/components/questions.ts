/** Questions that come before an order: stop, roll back, export; the last two ask for a round. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { OperatedTask } from '../../generated/http-api.js';
import { whole } from '../../words.js';
import { earlier } from '../state.js';
import { checkpointWords } from '../words.js';
import { ModalDialog } from './modal-dialog.js';

/** Dispatches `stop`, a CustomEvent with the task's name, if the operator means it. */
export class StopQuestion extends ModalDialog {
  static override properties = { task: { attribute: false } };
  declare task: OperatedTask | undefined;

  protected get heading(): string {
    return `Stop “${this.task?.title ?? ''}” for good?`;
  }

  protected content(): TemplateResult {
    return html`
      <p>The round under way is given up and no other follows. A stopped task cannot be resumed. Its models and its history stay.</p>
      <div class="answers">
        <button class="order danger" id="stop-yes" @click=${() => this.#stop(this.task?.id)}>Stop for good</button>
        <button class="order" autofocus @click=${() => this.hide()}>Keep the task</button>
      </div>
    `;
  }

  #stop(id: string | undefined): void {
    this.hide();
    if (id !== undefined) this.dispatchEvent(new CustomEvent('stop', { detail: id }));
  }
}

/** A round of the task that was asked about. */
export interface TaskRound {
  readonly id: string;
  readonly round: number;
}

/** Dispatches `round`, a CustomEvent with the round that was chosen. */
export abstract class RoundQuestion extends ModalDialog {
  static override properties = { task: { attribute: false } };
  declare task: OperatedTask | undefined;
  protected abstract readonly lead: string;
  protected abstract readonly none: string;
  protected abstract rounds(task: OperatedTask): readonly number[];
  protected abstract label(round: number): string;
  #chosen: number | undefined;
  /** The task at the time of the question. Later rounds do not change the list to choose from. */
  #asked: OperatedTask | undefined;

  override show(): void {
    this.#asked = this.task;
    super.show();
  }

  protected content(): TemplateResult {
    const task = this.#asked ?? this.task;
    const rounds = task ? this.rounds(task) : [];
    const [first] = rounds;
    if (!task || first === undefined) {
      return html`<p>${this.none}</p>
        <div class="answers"><button class="order" @click=${() => this.hide()}>Close</button></div>`;
    }
    const chosen = this.#chosen !== undefined && rounds.includes(this.#chosen) ? this.#chosen : first;
    return html`<form method="post" @submit=${(event: SubmitEvent) => this.#submit(event, { id: task.id, round: chosen })}>
      <p>${this.lead}</p>
      <div class="rounds" role="radiogroup" aria-label="Round">
        ${rounds.map(
          (round) => html`<label class="choice"
            ><input
              type="radio"
              name=${`${this.localName}-round`}
              .value=${`${round}`}
              .checked=${round === chosen}
              @change=${() => this.#choose(round)}
            /><span>${checkpointWords(round, task.history, task.headline)}${round === task.round ? html` <small>newest</small>` : nothing}</span></label
          >`,
        )}
      </div>
      <div class="answers">
        <button class="order strong" id=${`${this.localName}-yes`}>${this.label(chosen)}</button>
        <button class="order" type="button" @click=${() => this.hide()}>Cancel</button>
      </div>
    </form>`;
  }

  protected override closed(): void {
    this.#chosen = undefined;
    this.#asked = undefined;
  }

  #choose(round: number): void {
    this.#chosen = round;
    this.requestUpdate();
  }

  #submit(event: SubmitEvent, detail: TaskRound): void {
    event.preventDefault();
    this.hide();
    this.dispatchEvent(new CustomEvent<TaskRound>('round', { detail }));
  }
}

export class RollBackQuestion extends RoundQuestion {
  protected readonly none = 'No earlier model is kept. What is kept is said by [task.checkpoints] in the config.';

  protected get heading(): string {
    return `Go back to which round of “${this.task?.title ?? ''}”?`;
  }

  protected get lead(): string {
    const priced = this.task?.privacy ? ' Privacy that was spent stays spent.' : '';
    return `That round’s model becomes the model of a new round ${whole((this.task?.round ?? 0) + 1)}. The rounds in between stay in the history; the round under way is given up.${priced}`;
  }

  protected rounds(task: OperatedTask): readonly number[] {
    return earlier(task);
  }

  protected label(round: number): string {
    return `Go back to round ${whole(round)}`;
  }
}

export class ExportQuestion extends RoundQuestion {
  protected readonly heading = 'Export which model?';
  protected readonly lead = 'It is downloaded as a safetensors file.';
  protected readonly none = 'No model is kept.';

  protected rounds(task: OperatedTask): readonly number[] {
    return [task.round, ...earlier(task)];
  }

  protected label(): string {
    return 'Download';
  }
}

customElements.define('fedra-stop-question', StopQuestion);
customElements.define('fedra-roll-back-question', RollBackQuestion);
customElements.define('fedra-export-question', ExportQuestion);
