/** The layout of the operator's page. It draws the desk's state and passes clicks on. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { LightElement } from '../../components/light-element.js';
import '../../components/line-chart.js';
import { whole } from '../../words.js';
import { AdminApi, baseOf } from '../api.js';
import { Desk } from '../desk.js';
import type { DeskState, Entry } from '../state.js';
import { entries, hashOf, INITIAL, viewOf } from '../state.js';
import { problemWords, refusedWords, STANDS } from '../words.js';
import './new-task.js';
import { serverView } from './server-view.js';
import './sign-in.js';
import type { Credentials, SignIn } from './sign-in.js';
import { taskView } from './task-view.js';

export class FedraAdmin extends LightElement {
  #desk: Desk | undefined;
  #base = '';

  override connectedCallback(): void {
    super.connectedCallback();
    this.#base = baseOf(location.href);
    this.#desk = new Desk(new AdminApi(this.#base));
    this.#desk.addEventListener('change', () => this.requestUpdate());
    this.#desk.open(viewOf(location.hash));
    addEventListener('hashchange', this.#onHash);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener('hashchange', this.#onHash);
    this.#desk?.close();
  }

  protected override render(): TemplateResult {
    const state = this.#desk?.state ?? INITIAL;
    const operator = state.access === 'operator';
    return html`
      <header class="top">
        <a class="wordmark" href="../"><span class="mark" aria-hidden="true"></span>Fedra</a>
        <span class="connection" data-kind=${state.problem ? 'bad' : state.tasks ? 'good' : 'idle'}>${connectionWords(state)}</span>
        <button class="plain" id="access" aria-busy=${state.access === 'checking'} @click=${() => (operator ? this.#desk?.signOut() : this.#signIn())}>
          ${operator ? 'Sign out' : 'Sign in'}
        </button>
      </header>
      <div class="desk">
        ${this.#side(state)}
        <main>
          <div role="alert">${problemBox(state, this.#base)}</div>
          ${this.#view(state)}
        </main>
      </div>
      <fedra-sign-in .state=${state} @token=${this.#onToken} @closed=${this.#onClosed}></fedra-sign-in>
      <div class="unseen" role="status">${connectionWords(state)}</div>
    `;
  }

  protected override updated(): void {
    const { view, task } = this.#desk?.state ?? INITIAL;
    const what = view.name === 'server' ? 'Server' : view.name === 'new' ? 'New task' : (task?.title ?? 'operator');
    document.title = `Fedra: ${what}`;
  }

  #side(state: DeskState): TemplateResult {
    const { view, task, access } = state;
    const open = view.name === 'task' ? (view.id ?? task?.id) : undefined;
    return html`<nav class="side" aria-label="Views">
      <h2>Tasks</h2>
      <ul>${entries(state).map((entry) => html`<li>${link(entry, entry.id === open)}</li>`)}</ul>
      ${
        access === 'operator'
          ? html`<ul class="more">
            <li><a href="#/server" aria-current=${view.name === 'server' ? 'page' : nothing}>Server</a></li>
            <li><a href="#/new" aria-current=${view.name === 'new' ? 'page' : nothing}>New task</a></li>
          </ul>`
          : nothing
      }
    </nav>`;
  }

  #view(state: DeskState): TemplateResult | typeof nothing {
    const { view, task, access, status } = state;
    if (view.name === 'task') {
      if (task) return taskView(task, state, this.#desk, this.#base, () => this.#signIn());
      return state.tasks?.length === 0 ? html`<p class="none">The aggregator has no task yet.</p>` : nothing;
    }
    if (access !== 'operator') return this.#closed(state);
    if (view.name === 'server') return serverView(status);
    return html`
      <header class="title"><h1 id="title">New task</h1></header>
      <fedra-new-task .state=${state} .desk=${this.#desk} @created=${({ detail }: CustomEvent<string>) => (location.hash = hashOf(detail))}></fedra-new-task>
    `;
  }

  #closed({ refused }: DeskState): TemplateResult {
    const why = refused ? refusedWords(refused) : 'This part of the page takes the operator’s token.';
    return html`<header class="title">
      <h1 id="title">For operators</h1>
      <div class="orders">
        <button class="order strong" id="ask-token" @click=${() => this.#signIn()}>Sign in</button>
        <p class="beside">${why}</p>
      </div>
    </header>`;
  }

  #signIn(): void {
    this.querySelector<SignIn>('fedra-sign-in')?.show();
  }

  readonly #onToken = ({ detail }: CustomEvent<Credentials>): void => void this.#desk?.signIn(detail.token, detail.keep);

  readonly #onClosed = (): void => {
    this.#desk?.dismiss();
    // The button that asked for the token may be gone, and the focus with it.
    const holder = document.activeElement;
    const lost = !holder || holder === document.body || holder.getClientRects().length === 0;
    if (lost) this.querySelector<HTMLElement>('#access')?.focus();
  };

  readonly #onHash = (): void => this.#desk?.show(viewOf(location.hash));
}

function link({ id, title, stand, round }: Entry, isOpen: boolean): TemplateResult {
  return html`<a href=${hashOf(id)} aria-current=${isOpen ? 'page' : nothing}>
    <span class="name">${title}</span>
    <small data-stand=${stand}>${STANDS[stand]}, ${whole(round)} ${round === 1 ? 'round' : 'rounds'} done</small>
  </a>`;
}

function connectionWords({ problem, tasks }: DeskState): string {
  if (problem) return problem.code === 'no-server' ? 'No answer; trying again' : 'Something is wrong';
  return tasks ? 'Up to date' : 'Asking the aggregator';
}

function problemBox({ problem }: DeskState, base: string): TemplateResult | typeof nothing {
  if (!problem) return nothing;
  const { title, text } = problemWords(problem, new URL(base).host);
  return html`<div class="message problem" data-code=${problem.code}><strong>${title}</strong><p>${text}</p></div>`;
}

customElements.define('fedra-admin', FedraAdmin);
