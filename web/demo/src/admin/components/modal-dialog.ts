/**
 * A question over the page. The browser keeps the focus inside, closes it at
 * Escape, and gives the focus back to what opened it.
 */

import type { TemplateResult } from 'lit';
import { html } from 'lit';
import { LightElement } from '../../components/light-element.js';

export abstract class ModalDialog extends LightElement {
  protected abstract readonly heading: string;
  protected abstract content(): TemplateResult;

  protected override render(): TemplateResult {
    return html`<dialog aria-labelledby=${`${this.localName}-title`} @close=${this.closed}>
      <h2 id=${`${this.localName}-title`}>${this.heading}</h2>
      ${this.content()}
    </dialog>`;
  }

  get isOpen(): boolean {
    return this.querySelector('dialog')?.open ?? false;
  }

  show(): void {
    this.requestUpdate();
    void this.updateComplete.then(() => {
      if (!this.isOpen) this.querySelector('dialog')?.showModal();
    });
  }

  hide(): void {
    this.querySelector('dialog')?.close();
  }

  /** Called after it has been closed, by a button or by Escape. */
  protected closed(): void {}
}
