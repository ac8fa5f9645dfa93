/**
 * A Lit element without a shadow root: the page has one style sheet. Styles
 * that come from data are set as `.style=`, never as an attribute, which the
 * page's Content-Security-Policy would not let through.
 */
import { LitElement } from 'lit';

export class LightElement extends LitElement {
  protected override createRenderRoot(): HTMLElement {
    // Lit appends: what the document showed in this place has to go first.
    this.replaceChildren();
    return this;
  }
}
