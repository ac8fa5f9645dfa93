/**
 * A form for one row of a table, and the shared model's prediction for it. Before the first
 * question nothing is fetched; after it every change is a question, and so is a new model.
 */

import { FedraError } from 'fedra';
import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { predictions } from '../data-words.js';
import type { Session } from '../session.js';
import type { Column, TableDescription, TaskData } from '../task-data.js';
import { blankRow, classesOf, csvOf, inputsOf, probabilitiesOf, targetsOf } from '../task-data.js';
import { percent, sentence } from '../words.js';
import { LightElement } from './light-element.js';
import { bestOf, shares } from './shares.js';

type Row = Readonly<Record<string, string>>;

const ASK_AFTER_MS = 250;

export class RowReader extends LightElement {
  static override properties = {
    session: { attribute: false },
    data: { attribute: false },
    modelHash: { attribute: false },
  };
  declare session: Session | undefined;
  declare data: TaskData | undefined;
  declare modelHash: string | undefined;

  #sample = 0;
  #row: Row = {};
  /** True while the row is a sample as it was, so that its label is known. */
  #isSample = true;
  #asked = false;
  #asking = false;
  #again = false;
  /** Answer of the model: probabilities of classes, or of columns, or values of columns. */
  #outputs: Float32Array | undefined;
  #mistake: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #spoken = '';
  #speakNext = false;

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has('data') && this.data) this.#take(0);
    if (changed.has('modelHash') && this.#asked) void this.#ask();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.#timer);
  }

  protected override render(): TemplateResult | typeof nothing {
    const description = this.#description();
    if (!description) return nothing;
    const classes = classesOf(this.data);
    return html`
      <section class="ask row-reader" aria-labelledby="ask">
        <form class="fields" @submit=${this.#submit}>
          <h2 id="ask">Ask it</h2>
          ${inputsOf(description).map((column) => this.#field(column))}
          <div class="row">
            <button class="plain">Ask the model</button>
            ${this.#samples().length > 1 ? html`<button class="plain" type="button" @click=${this.#next}>Another row</button>` : nothing}
          </div>
        </form>
        <div class="answer">
          <p class="verdict">${classes ? this.#verdict(description, classes) : this.#values(description)}</p>
          ${classes ? shares(classes, this.#outputs, `Probability of each value of “${target(description)}”`) : nothing}
        </div>
        <div class="unseen" aria-live="polite">${this.#spoken}</div>
      </section>
    `;
  }

  #field(column: Column): TemplateResult {
    const value = this.#row[column.name] ?? '';
    const set = ({ target }: Event) => this.#change(column.name, (target as HTMLInputElement | HTMLSelectElement).value);
    return html`<label><span>${column.name}</span>${input(column, value, set)}</label>`;
  }

  #verdict(description: TableDescription, classes: readonly string[]): TemplateResult | string {
    const best = bestOf(this.#outputs, classes);
    if (best === undefined || this.#mistake) return this.#unanswered();
    const label = this.#isSample ? this.#row[target(description)] : undefined;
    return html`<span class="read words">${classes[best]}</span>
      <span>${percent(this.#outputs?.[best] ?? 0, 0)} sure.${label ? html` <small>The report says ${label}.</small>` : nothing}</span>`;
  }

  /** The predicted values, where they are no classes. */
  #values(description: TableDescription): TemplateResult | string {
    const outputs = this.#outputs;
    if (!outputs || this.#mistake) return this.#unanswered();
    return html`${predictions(description, outputs).map(
      ([name, value]) => html`<span class="read words">${value}</span> <span>${name}</span> `,
    )}`;
  }

  #unanswered(): TemplateResult | string {
    if (this.#mistake) return html`<span role="alert">${sentence(this.#mistake)}</span>`;
    if (this.#asking) return 'The model is on its way; then it reads your row.';
    if (this.#samples().length === 0) return 'Fill in a row, and ask the model.';
    return 'This is a row that no tab trains on. Change what you like, and ask the model.';
  }

  #description(): TableDescription | undefined {
    return this.data?.data.kind === 'table' ? this.data.data : undefined;
  }

  #samples(): readonly Row[] {
    return this.data?.samples ?? [];
  }

  #take(sample: number): void {
    this.#sample = sample;
    const table = this.#description();
    this.#row = this.#samples()[sample] ?? (table ? blankRow(table) : {});
    this.#isSample = sample in this.#samples();
    this.#outputs = undefined;
    this.#mistake = undefined;
  }

  #next(): void {
    this.#take((this.#sample + 1) % this.#samples().length);
    this.#askSoon();
  }

  #change(name: string, value: string): void {
    this.#row = { ...this.#row, [name]: value };
    this.#isSample = false;
    this.#askSoon();
  }

  #submit(event: Event): void {
    event.preventDefault();
    this.#askSoon();
  }

  #askSoon(): void {
    this.#asked = true;
    this.#speakNext = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), ASK_AFTER_MS);
    this.requestUpdate();
  }

  /** Asks about the row, one question at a time. A change meanwhile leads to another. */
  async #ask(): Promise<void> {
    if (this.#asking) {
      this.#again = true;
      return;
    }
    this.#asking = true;
    this.requestUpdate();
    do {
      this.#again = false;
      await this.#answer();
    } while (this.#again);
    this.#asking = false;
    this.requestUpdate();
  }

  async #answer(): Promise<void> {
    const { session } = this;
    const description = this.#description();
    if (!session || !description) return;
    const row = this.#row;
    try {
      const file = new File([csvOf(description, row)], 'the row', { type: 'text/csv' });
      const read = await session.read({ files: file });
      const outputs = read && (await session.predict(read.features));
      if (row === this.#row) this.#show(description, outputs ?? undefined);
    } catch (error) {
      if (!(error instanceof FedraError)) throw error;
      this.#mistake = error.message;
    }
  }

  #show(description: TableDescription, outputs: Float32Array | undefined): void {
    this.#mistake = undefined;
    const classes = classesOf(this.data);
    this.#outputs = classes && outputs ? probabilitiesOf(outputs, classes) : outputs;
    const words = this.#outputs && spokenWords(description, classes, this.#outputs);
    if (words !== undefined && this.#speakNext) {
      this.#spoken = words;
      this.#speakNext = false;
    }
    this.requestUpdate();
  }
}

/** The name of the one column that is predicted. */
function target(description: TableDescription): string {
  return targetsOf(description)[0]?.name ?? '';
}

/** The answer as it is read aloud; undefined where the model has none for these classes. */
function spokenWords(description: TableDescription, classes: readonly string[] | undefined, outputs: Float32Array): string | undefined {
  if (!classes) {
    const values = predictions(description, outputs).map(([name, value]) => `${value} for ${name}`);
    return `The model says ${values.join(', ')}.`;
  }
  const best = bestOf(outputs, classes);
  return best === undefined ? undefined : `The model says ${classes[best]}, ${percent(outputs[best] ?? 0, 0)} sure.`;
}

function input(column: Column, value: string, set: (event: Event) => void): TemplateResult {
  switch (column.type) {
    case 'number':
      return html`<input type="number" step="any" ?required=${column.fill === undefined} .value=${value} @input=${set} />`;
    case 'date':
      return html`<input type="date" min=${column.min ?? nothing} max=${column.max ?? nothing} ?required=${column.fill === undefined} .value=${value} @input=${set} />`;
    case 'boolean':
      return choice(['yes', 'no'], value, set);
    case 'category':
      return choice(column.other && !column.values.includes(value) ? [...column.values, value] : column.values, value, set);
  }
}

function choice(values: readonly string[], value: string, set: (event: Event) => void): TemplateResult {
  return html`<select @change=${set}>
    ${values.map((one) => html`<option value=${one} .selected=${one === value}>${one === '' ? 'not known' : one}</option>`)}
  </select>`;
}

customElements.define('fedra-row-reader', RowReader);
