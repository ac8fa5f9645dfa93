/** Asks for the operator's token. The field has no name, so no form ever sends it by itself. */

import type { PropertyValues, TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { DeskState } from '../state.js';
import { INITIAL } from '../state.js';
import { refusedWords } from '../words.js';
import { ModalDialog } from './modal-dialog.js';

export interface Credentials {
  readonly token: string;
  readonly keep: boolean;
}

/** Dispatches `token`, a CustomEvent with {@link Credentials}, and `closed`. */
export class SignIn extends ModalDialog {
  static override properties = { state: { attribute: false } };
  declare state: DeskState;
  protected readonly heading = 'Operator’s token';

  constructor() {
    super();
    this.state = INITIAL;
  }

  protected content(): TemplateResult {
    const checking = this.state.access === 'checking';
    const { refused } = this.state;
    return html`<form method="post" @submit=${this.#submit}>
      <p class="hint" id="token-hint">It is in the file that <code>server.admin.token_file</code> names.</p>
      <input
        id="token"
        type="password"
        aria-label="Token"
        aria-describedby="token-hint token-problem"
        aria-invalid=${refused ? 'true' : nothing}
        autocomplete="off"
        autocapitalize="off"
        spellcheck="false"
        required
      />
      <p class="problem" id="token-problem" role="alert">${refused ? refusedWords(refused) : nothing}</p>
      <label class="choice"><input id="keep" type="checkbox" /><span>Keep it until this tab is closed</span></label>
      <p class="hint">Otherwise it is forgotten when the page is loaded again.</p>
      <div class="answers">
        <button class="order strong" id="enter" aria-busy=${checking}>${checking ? 'Checking' : 'Sign in'}</button>
        <button class="order" type="button" @click=${() => this.hide()}>Cancel</button>
      </div>
    </form>`;
  }

  protected override updated(changed: PropertyValues<this>): void {
    if (!this.isOpen) return;
    if (this.state.access === 'operator') this.hide();
    // A refused token is typed again, not corrected letter by letter.
    if (this.state.refused && changed.get('state')?.refused !== this.state.refused) this.#field()?.select();
  }

  protected override closed(): void {
    const field = this.#field();
    if (field) field.value = '';
    this.dispatchEvent(new CustomEvent('closed'));
  }

  #submit(event: SubmitEvent): void {
    event.preventDefault();
    const field = this.#field();
    if (!field || this.state.access === 'checking') return;
    const keep = this.querySelector<HTMLInputElement>('#keep')?.checked ?? false;
    this.dispatchEvent(new CustomEvent<Credentials>('token', { detail: { token: field.value, keep } }));
  }

  #field(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>('#token');
  }
}

customElements.define('fedra-sign-in', SignIn);
