/** A form for a new task's section of the config. The server checks it. */

import type { PropertyValues, TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { LightElement } from '../../components/light-element.js';
import type { Desk } from '../desk.js';
import type { DeskState } from '../state.js';
import { hasToWait, INITIAL } from '../state.js';
import { outcome } from './outcome.js';

const EXAMPLE = `[[task]]
id = "digits"
title = "Handwritten digits"
model = "softmax-regression"
rounds = 100

[task.round]
cohort_size = 32
deadline = "1min"
`;

/** Dispatches `created`, a CustomEvent with the new task's name. */
export class NewTask extends LightElement {
  static override properties = { state: { attribute: false }, desk: { attribute: false } };
  declare state: DeskState;
  declare desk: Desk | undefined;

  constructor() {
    super();
    this.state = INITIAL;
    this.desk = undefined;
  }

  protected override render(): TemplateResult {
    const busy = this.state.busy === 'create';
    const waits = hasToWait(this.state, 'create');
    return html`<form class="composer" method="post" @submit=${this.#submit}>
      <label for="toml">The task’s section of the config, as TOML</label>
      <textarea
        id="toml"
        required
        spellcheck="false"
        autocapitalize="off"
        autocomplete="off"
        placeholder=${EXAMPLE}
        aria-describedby="toml-hint"
        .value=${this.desk?.draft ?? ''}
        @input=${this.#keep}
      ></textarea>
      <p class="hint" id="toml-hint">
        One <code>[[task]]</code> with its tables, as in the config file. The server keeps it: the task is there again after a restart.
      </p>
      <div class="answers">
        <button class="order strong" id="create" aria-busy=${busy} aria-disabled=${waits ? 'true' : nothing}>${busy ? 'Checking' : 'Check and create'}</button>
        <button class="order" type="button" id="example" @click=${this.#fill}>Begin with an example</button>
      </div>
      ${outcome(this.state, ['create'])}
    </form>`;
  }

  protected override updated(changed: PropertyValues<this>): void {
    const { failure } = this.state;
    // On a phone the keyboard would cover the message.
    if (failure && changed.get('state')?.failure !== failure) this.querySelector('.message')?.scrollIntoView({ block: 'nearest' });
  }

  #submit(event: SubmitEvent): void {
    event.preventDefault();
    const field = this.#field();
    if (field) void this.#create(field.value);
  }

  async #create(toml: string): Promise<void> {
    const made = await this.desk?.create(toml);
    if (made === undefined) return;
    const field = this.#field();
    if (field) field.value = '';
    this.#keep();
    this.dispatchEvent(new CustomEvent('created', { detail: made }));
  }

  readonly #fill = (): void => {
    const field = this.#field();
    if (!field) return;
    if (field.value.trim() === '') field.value = EXAMPLE;
    this.#keep();
    field.focus();
  };

  readonly #keep = (): void => {
    if (this.desk) this.desk.draft = this.#field()?.value ?? '';
  };

  #field(): HTMLTextAreaElement | null {
    return this.querySelector<HTMLTextAreaElement>('textarea');
  }
}

customElements.define('fedra-new-task', NewTask);
