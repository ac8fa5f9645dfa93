/**
 * The question before the first round of a private task. It takes the
 * keyboard's focus, not on an answer, so that a second press of the key that
 * started does not agree. Escape is no.
 */

import type { TemplateResult } from 'lit';
import { html } from 'lit';
import type { Protection } from '../privacy.js';
import { consentWords } from '../privacy-words.js';
import { LightElement } from './light-element.js';

/** Dispatches `answer`, a CustomEvent whose detail is true or false. */
export class ConsentCard extends LightElement {
  static override properties = { terms: { attribute: false } };
  declare terms: Protection;

  protected override render(): TemplateResult {
    return html`
      <div class="consent" role="group" aria-labelledby="consent" tabindex="-1" @keydown=${this.#key}>
        <h2 id="consent">Before your first round</h2>
        <dl>${consentWords(this.terms).map(({ name, text }) => html`<div><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>
        <div class="answers">
          <button class="primary" id="agree" @click=${() => this.#answer(true)}>Agree and take part</button>
          <button class="plain" id="decline" @click=${() => this.#answer(false)}>Not now</button>
        </div>
      </div>
    `;
  }

  protected override firstUpdated(): void {
    this.querySelector<HTMLElement>('.consent')?.focus();
  }

  #key(event: KeyboardEvent): void {
    if (event.key === 'Escape') this.#answer(false);
  }

  #answer(agreed: boolean): void {
    this.dispatchEvent(new CustomEvent('answer', { detail: agreed }));
  }
}

customElements.define('fedra-consent', ConsentCard);
