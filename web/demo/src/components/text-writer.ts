/**
 * Text that the shared model writes, a token at a time, each drawn from the newest model.
 * While the tab takes part, a passage follows on another, so that the text changes with the
 * model; otherwise the model writes when it is asked.
 */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { contextOf, draw, Tokens } from '../sampling.js';
import type { Session } from '../session.js';
import type { TaskData, TextDescription } from '../task-data.js';
import { whole } from '../words.js';
import { LightElement } from './light-element.js';

interface Passage {
  /** The round of the model that it was begun with. */
  readonly round: number;
  readonly start: string;
  readonly text: string;
}

/** Tokens of a passage. */
const LENGTH = 220;
/** Earlier passages that are shown, the newest first. */
const EARLIER = 3;
/** Rest before a passage that follows by itself. */
const REST_MS = 1200;
const START = 'Call me ';
const TEMPERATURE = 0.7;

export class TextWriter extends LightElement {
  static override properties = {
    session: { attribute: false },
    data: { attribute: false },
    round: { attribute: false },
    running: { attribute: false },
  };
  declare session: Session | undefined;
  declare data: TaskData | undefined;
  /** The newest model's round; undefined until there is one. */
  declare round: number | undefined;
  /** True while the tab takes part and is not paused. */
  declare running: boolean;

  #start = START;
  #temperature = TEMPERATURE;
  #current: Passage | undefined;
  #earlier: readonly Passage[] = [];
  #writing = false;
  /** Ends the passage under way. */
  #stop = new AbortController();
  /** True after the visitor has stopped the writing that follows the training. */
  #silent = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #spoken = '';
  readonly #still = matchMedia('(prefers-reduced-motion: reduce)');

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has('data')) this.#forget();
    if (changed.has('running') && this.running) this.#silent = false;
  }

  protected override updated(): void {
    if (this.#follows() && !this.#writing && this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        if (this.#follows() && !this.#writing && document.visibilityState === 'visible') void this.#write(false);
        else this.requestUpdate();
      }, REST_MS);
    }
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#forget();
  }

  protected override render(): TemplateResult {
    return html`
      <section class="ask writer" aria-labelledby="ask">
        <form class="fields" @submit=${this.#submit}>
          <h2 id="ask">Let it write</h2>
          <label>
            <span>Begin with</span>
            <input type="text" id="beginning" maxlength="200" autocomplete="off" spellcheck="false" .value=${this.#start} @input=${this.#setStart} />
          </label>
          <label>
            <span>Temperature <b>${this.#temperature.toFixed(1)}</b></span>
            <input type="range" min="0" max="1.5" step="0.1" aria-describedby="temperature" .value=${String(this.#temperature)} @input=${this.#setTemperature} />
            <small id="temperature">Low: the likeliest characters. High: more surprises.</small>
          </label>
          <div class="row">
            <button class="plain" id="write">${this.#writing ? 'Stop' : 'Write'}</button>
          </div>
        </form>
        <div class="answer">
          ${this.#passages()}
        </div>
        <div class="unseen" aria-live="polite">${this.#spoken}</div>
      </section>
    `;
  }

  #passages(): TemplateResult {
    const current = this.#current;
    if (!current) {
      return html`<p class="written empty" id="written">${
        this.#writing
          ? 'The model is on its way; then it writes.'
          : 'Nothing is written yet. Take part, and the model writes as it learns; or let it write now.'
      }</p>`;
    }
    return html`
      <figure class="passage">
        <figcaption>${roundWords(current.round)}</figcaption>
        <p class="written" id="written"><span class="start">${current.start}</span>${current.text}${
          this.#writing ? html`<span class="caret" aria-hidden="true"></span>` : nothing
        }</p>
      </figure>
      ${this.#earlier.map(
        ({ round, start, text }) => html`<figure class="passage earlier">
          <figcaption>${roundWords(round)}</figcaption>
          <p class="written"><span class="start">${start}</span>${text}</p>
        </figure>`,
      )}
    `;
  }

  #follows(): boolean {
    return this.running && !this.#silent && this.round !== undefined;
  }

  #description(): TextDescription | undefined {
    return this.data?.data.kind === 'text' ? this.data.data : undefined;
  }

  #setStart({ target }: Event): void {
    this.#start = (target as HTMLInputElement).value;
  }

  #setTemperature({ target }: Event): void {
    this.#temperature = Number((target as HTMLInputElement).value);
    this.requestUpdate();
  }

  #submit(event: Event): void {
    event.preventDefault();
    if (this.#writing) {
      this.#silent = true;
      this.#stop.abort();
      return;
    }
    this.#silent = false;
    void this.#write(true);
  }

  #forget(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#current = undefined;
    this.#earlier = [];
    this.#spoken = '';
  }

  /** Writes a passage. One that was asked for is read aloud at its end. */
  async #write(wasAsked: boolean): Promise<void> {
    const { session } = this;
    const description = this.#description();
    if (!session || !description) return;
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    const tokens = new Tokens(description);
    const ids = tokens.encode(this.#start);
    const start = tokens.decode(ids);
    const begin = ids.length;
    this.#writing = true;
    this.requestUpdate();
    while (ids.length - begin < LENGTH && !signal.aborted) {
      const next = await this.#next(session, tokens, ids, description.context);
      if (next === undefined || signal.aborted) break;
      const first = ids.length === begin;
      ids.push(next);
      if (first && this.#current) this.#earlier = [this.#current, ...this.#earlier].slice(0, EARLIER);
      const round = first ? (this.round ?? 0) : (this.#current?.round ?? 0);
      this.#current = { round, start, text: tokens.decode(ids.slice(begin)) };
      // Text that grows is motion.
      if (!this.#still.matches) this.requestUpdate();
    }
    this.#writing = false;
    if (wasAsked && this.#current && !signal.aborted) this.#spoken = `${start}${this.#current.text}`;
    this.requestUpdate();
  }

  /** One more token, or undefined where the model does not answer. */
  async #next(session: Session, tokens: Tokens, ids: readonly number[], context: number): Promise<number | undefined> {
    const [positions = 1, width] = session.state.task?.model.output ?? [];
    const { input, last } = contextOf(ids, context, width === undefined ? 1 : positions);
    const outputs = await session.predict(input);
    const probabilities = outputs?.subarray(last * tokens.count, (last + 1) * tokens.count);
    if (probabilities?.length !== tokens.count) return undefined;
    return draw(probabilities, this.#temperature, Math.random(), (id) => tokens.hasText(id));
  }
}

function roundWords(round: number): string {
  return round === 0 ? 'Before the first round' : `After round ${whole(round)}`;
}

customElements.define('fedra-text-writer', TextWriter);
