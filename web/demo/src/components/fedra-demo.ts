/** The layout of the visitors' page. It draws the session's state and passes clicks on. */

import type { SessionState } from 'fedra';
import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { kindWords } from '../kinds.js';
import { HEADLINES, headlineOf, otherMetrics } from '../metrics.js';
import { OptionsError, parseOptions } from '../options.js';
import type { Protection } from '../privacy.js';
import { fromTerms, isBudgetSpent, isUsedUp, protectionOf } from '../privacy.js';
import { epsilon, shortWords } from '../privacy-words.js';
import { Session } from '../session.js';
import type { PageState, Problem } from '../state.js';
import { INITIAL, latestEvaluated, trainedShare } from '../state.js';
import type { DataKind } from '../task-data.js';
import { classesOf } from '../task-data.js';
import { advice, bytes, cohortWords, percent, sentence, stateWords, whole } from '../words.js';
import { classTable } from './class-table.js';
import './cohort-ring.js';
import './consent-card.js';
import { dataCard, dataSource } from './data-card.js';
import './digit-reader.js';
import { LightElement } from './light-element.js';
import './line-chart.js';
import { protection } from './protection.js';
import { roundWay } from './round-steps.js';
import { takeAway } from './take-away.js';
import { taskSwitch } from './task-switch.js';

/** Least time from one drawing of the page to the next. Events may come faster. */
const DRAW_EVERY_MS = 120;
/** States of a client that is in no round. */
const SITTING: readonly (SessionState | undefined)[] = ['idle', 'waiting', 'unavailable'];
/** A screen reader hears of the first metric at most this often. */
const ANNOUNCE_EVERY_MS = 20_000;

const ownData = () => import('./own-data.js');
/** Places to try a model and to give own data, which are fetched for the tasks that have them. */
const PLACES: Partial<Record<DataKind, () => Promise<unknown>>> = {
  table: () => Promise.all([import('./row-reader.js'), ownData()]),
  text: () => Promise.all([import('./text-writer.js'), ownData()]),
  array: ownData,
  image: () => Promise.all([import('./picture-teacher.js'), ownData()]),
};

export class FedraDemo extends LightElement {
  #session: Session | undefined;
  #url = '';
  #api = '';
  #addressProblem: Problem | undefined;
  #drawTimer: ReturnType<typeof setTimeout> | undefined;
  #announcement = '';
  #announcedAt = -Infinity;
  /** True if a part of the page could not be fetched. */
  #lacks = false;

  override connectedCallback(): void {
    super.connectedCallback();
    try {
      const options = parseOptions(location.href);
      this.#url = options.url;
      this.#api = options.api;
      this.#session = new Session(options);
      this.#session.addEventListener('change', () => this.#drawSoon());
      this.#session.watch();
      addEventListener('popstate', this.#onPopState);
      if (options.autostart) void this.#session.start();
    } catch (error) {
      if (!(error instanceof OptionsError)) throw error;
      this.#addressProblem = { code: 'bad-options', message: error.message, fatal: true };
    }
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener('popstate', this.#onPopState);
  }

  protected override render(): TemplateResult {
    const state = this.#session?.state ?? { ...INITIAL, problem: this.#addressProblem };
    // Pictures come before the training, and a text is to be seen while it changes.
    const placeFirst = state.kind === 'image' || state.kind === 'text';
    return html`
      <header class="top">
        <span class="wordmark"><span class="mark" aria-hidden="true"></span>Fedra</span>
        <span class="connection" data-kind=${connectionKind(state)}>${stateWords(state)}</span>
      </header>
      <main>
        ${this.#hero(state)} ${placeFirst ? this.#place(state) : nothing}
        ${protection(protectionOf(state), privateTask(state))} ${learned(state)}
        ${classTable(state.task?.classes, state.task?.latest?.round, classesOf(state.data))}
        ${placeFirst ? nothing : this.#place(state)} ${dataCard(state)} ${this.#own(state)} ${files(state, this.#api)} ${thisTab(state)}
      </main>
      <footer>${dataSource(state)}</footer>
      <div class="unseen" role="status">${coarseWords(state)}</div>
      <div class="unseen" aria-live="polite">${this.#announce(state)}</div>
    `;
  }

  #hero(state: PageState): TemplateResult {
    return html`
      <section class="hero" aria-labelledby="title">
        <div class="pitch">
          <h1 id="title">Many tabs,<br />one model.</h1>
          <p class="lede">${pitch(state)}</p>
          ${caveat(protectionOf(state))}
          ${taskSwitch(state.tasks, state.task?.id, location.href, (href) => this.#choose(href))}
          ${
            state.asking
              ? html`<fedra-consent .terms=${fromTerms(state.asking)} @answer=${this.#answer}></fedra-consent>`
              : html`<div class="actions">${this.#button(state)}${this.#session?.lacksExamples && state.stage !== 'running' && !finished(state) ? examplesFirst(state) : localProgress(state)}</div>`
          }
          <div role="alert" class="alerts">${problemBox(state.problem, this.#url, state.kind)}</div>
          <div role="status">${problemBox(noticeOf(state), this.#url, state.kind, 'notice')}</div>
        </div>
        <figure class="gathering">
          <fedra-cohort-ring .state=${state}></fedra-cohort-ring>
          ${roundWay(state, protectionOf(state)?.sumsOnly ?? false)}
          <figcaption>${cohortWords(state)}</figcaption>
        </figure>
      </section>
    `;
  }

  /** The place to try the newest model, by the kind of the task's data. */
  #place(state: PageState): TemplateResult | typeof nothing {
    const { kind, data, model, task } = state;
    const newest = model ?? task?.model;
    if (kind) void PLACES[kind]?.().catch(() => this.#lack());
    if (this.#lacks) return html`<section class="ask"><p role="alert">A part of this page did not load. Load the page again.</p></section>`;
    switch (kind) {
      case undefined:
      case 'other':
      case 'array':
        return nothing;
      case 'digits':
        return html`<fedra-digit-reader .session=${this.#session} .modelHash=${newest?.sha256}></fedra-digit-reader>`;
      case 'table':
        return html`<fedra-row-reader .session=${this.#session} .data=${data} .modelHash=${newest?.sha256}></fedra-row-reader>`;
      case 'text': {
        const running = state.stage === 'running' && !state.paused && model !== undefined;
        return html`<fedra-text-writer .session=${this.#session} .data=${data} .round=${newest?.round} .running=${running}></fedra-text-writer>`;
      }
      case 'image':
        return html`<fedra-picture-teacher .session=${this.#session} .data=${data} .modelHash=${newest?.sha256} .count=${state.examples}></fedra-picture-teacher>`;
    }
  }

  #lack(): void {
    if (this.#lacks) return;
    this.#lacks = true;
    this.requestUpdate();
  }

  /** The place for a visitor's own files, where the task describes them. */
  #own({ data, task }: PageState): TemplateResult | typeof nothing {
    if (!data || !task) return nothing;
    return html`<fedra-own-data .description=${data.data} .session=${this.#session?.ownData(task.id)}></fedra-own-data>`;
  }

  /** One element in every stage, so that the keyboard's focus stays on it. */
  #button(state: PageState): TemplateResult | typeof nothing {
    if (state.kind === 'other') return nothing;
    const running = state.stage === 'running';
    const label = { before: 'Start training', starting: 'Starting', running: state.paused ? 'Resume' : 'Pause', ended: 'Start again' };
    return html`<button
      class="primary ${running ? 'quiet' : ''}"
      id=${running ? 'pause' : 'start'}
      ?disabled=${this.#session === undefined || finished(state) !== undefined || isOver(state) || (!running && this.#session.lacksExamples)}
      aria-busy=${state.stage === 'starting'}
      @click=${() => (running ? this.#session?.togglePause() : void this.#session?.start())}
    >
      ${label[state.stage]}
    </button>`;
  }

  #choose(href: string): void {
    if (href === location.href) return;
    history.pushState(null, '', href);
    this.#onPopState();
  }

  readonly #onPopState = (): void => {
    this.#session?.choose(parseOptions(location.href).task);
    this.requestUpdate();
  };

  #answer(event: CustomEvent<boolean>): void {
    this.#session?.answer(event.detail);
    this.requestUpdate();
    // The question has had the focus and goes away.
    void this.updateComplete.then(() => this.querySelector<HTMLElement>('.primary')?.focus());
  }

  #drawSoon(): void {
    this.#drawTimer ??= setTimeout(() => {
      this.#drawTimer = undefined;
      this.requestUpdate();
    }, DRAW_EVERY_MS);
  }

  #announce(state: PageState): string {
    const latest = latestEvaluated(state.history);
    const kind = state.task?.headline ?? 'accuracy';
    const value = latest && headlineOf(latest, kind);
    if (value == null || state.stage !== 'running') return this.#announcement;
    if (performance.now() - this.#announcedAt > ANNOUNCE_EVERY_MS) {
      this.#announcedAt = performance.now();
      const spent = state.privacy && state.privacy.policy !== 'none' ? ` Your total is ε ${epsilon(state.privacy.spentEpsilon)}.` : '';
      const { lead, words, of } = HEADLINES[kind];
      this.#announcement = `After round ${latest?.round}: ${lead} ${words(value)} ${of(kindWords(state.kind).examples)}.${spent}`;
    }
    return this.#announcement;
  }
}

/** The notice before the click that the task is over. */
function finished(state: PageState): Problem | undefined {
  if (state.stage !== 'before' || state.task?.state !== 'finished') return undefined;
  const code = isBudgetSpent(state) ? 'budget-spent' : 'task-finished';
  return { code, message: 'the task has finished', fatal: false };
}

/** True if the tab is connected with nothing left to do: the task is done, or its privacy budget is used up. */
function isOver(state: PageState): boolean {
  if (state.stage !== 'running' || !SITTING.includes(state.status?.state)) return false;
  return state.round?.phase === 'finished' || isBudgetSpent(state) || isUsedUp(state);
}

/** The notice to show: news that is no fault. */
function noticeOf(state: PageState): Problem | undefined {
  if (isOver(state) && isBudgetSpent(state)) return { code: 'budget-spent', message: 'nothing is left to spend', fatal: false };
  if (isOver(state) && isUsedUp(state)) return { code: 'privacy-exhausted', message: 'nothing is left to spend', fatal: false };
  return state.notice ?? finished(state);
}

/** The title of a private task that the visitor could choose instead. */
function privateTask({ tasks, task }: PageState): string | undefined {
  return tasks.find(({ id, privacy }) => privacy !== null && id !== task?.id)?.title;
}

function caveat(terms: Protection | undefined): TemplateResult {
  if (!terms) return html`<p class="caveat">\u00a0</p>`;
  const { lead, text } = shortWords(terms);
  return html`<p class="caveat" data-policy=${terms.policy}><strong>${lead}</strong> ${text} <a href="#protection">More below</a></p>`;
}

/** The state as a screen reader hears it: not every step. */
function coarseWords(state: PageState): string {
  if (state.stage !== 'running') return stateWords(state);
  switch (state.status?.state) {
    case 'reconnecting':
      return 'No connection; trying again';
    case 'paused':
    case 'closed':
    case 'connecting':
    case 'consent':
      return stateWords(state);
    default:
      return 'Taking part';
  }
}

function connectionKind(state: PageState): string {
  if (state.problem) return 'bad';
  if (state.stage === 'before' || state.stage === 'ended') return 'idle';
  if (state.status?.state === 'reconnecting') return 'bad';
  const { state: doing, reason } = state.status ?? {};
  const idle = doing === 'paused' || doing === 'consent' || doing === 'unavailable' || reason !== undefined;
  return idle ? 'idle' : 'good';
}

function problemBox(
  problem: Problem | undefined,
  url: string,
  kind: DataKind | undefined,
  look = 'problem',
): TemplateResult | typeof nothing {
  if (!problem) return nothing;
  const { title, text } = advice(problem, url, kind);
  return html`<div class="message ${look}" data-code=${problem.code}><strong>${title}</strong><p>${text}</p></div>`;
}

/** The treatment of the data in one sentence. */
function pitch({ kind, data }: PageState): string {
  const { sentence: own, ofPart } = kindWords(kind);
  return (data && data.parts.length > 0 ? ofPart : undefined) ?? own;
}

/** The examples that are lacking, and the place to give them. */
function examplesFirst({ kind }: PageState): TemplateResult {
  switch (kind) {
    case 'other':
      return html`<p class="beside"><a href="#data">Further below</a> is what the task takes.</p>`;
    case 'image':
      return html`<p class="beside">First show it pictures of at least two classes, <a href="#ask">further below</a>.</p>`;
    default:
      return html`<p class="beside">First give it files of your own, <a href="#own">further below</a>.</p>`;
  }
}

function localProgress(state: PageState): TemplateResult {
  const { progress } = state;
  if (state.stage !== 'running') {
    return html`<p class="beside">${finished(state) ? '' : invitation(state)}</p>`;
  }
  if (isOver(state)) return html`<p class="beside">${stateWords(state)}</p>`;
  const done = trainedShare(state);
  const detail = progress
    ? `step ${whole(progress.step)} of ${whole(progress.steps)}, ${whole(progress.samplesPerSecond)} ${kindWords(state.kind).examples} a second`
    : '\u00a0';
  return html`<div class="beside local">
    <span>${stateWords(state)}</span>
    <progress max="1" .value=${done} aria-label="Local training"></progress>
    <small>${detail}</small>
  </div>`;
}

function invitation(state: PageState): string {
  const isPrivate = (protectionOf(state)?.policy ?? 'none') !== 'none';
  return isPrivate ? 'You are asked before the first round, and can pause at any time.' : 'One click. You can pause at any time.';
}

function learned(state: PageState): TemplateResult {
  if (state.task?.evaluated === false) return unmeasured(state);
  const latest = latestEvaluated(state.history);
  const kind = state.task?.headline ?? 'accuracy';
  const { lead, of, words } = HEADLINES[kind];
  const value = latest ? headlineOf(latest, kind) : null;
  const others = latest ? otherMetrics(latest, kind) : [];
  return html`
    <section class="learned" aria-labelledby="learned">
      <div class="verdict">
        <h2 id="learned">${lead}</h2>
        <p class="figure" id="headline" ?data-empty=${value === null}>${value === null ? '–' : words(value)}</p>
        <p class="of">
          ${of(kindWords(state.kind).examples)}${latest ? html`, after round ${whole(latest.round)}` : nothing}.
        </p>
        <dl class="pairs">
          ${others.map(([title, words]) => html`<div><dt>${title}</dt><dd>${words}</dd></div>`)}
          <div><dt>Loss</dt><dd>${latest?.loss == null ? '–' : latest.loss.toFixed(3)}</dd></div>
          <div><dt>Rounds</dt><dd>${whole(roundsOf(state))}${
            state.task?.rounds_total ? html` <small>of ${whole(state.task.rounds_total)}</small>` : nothing
          }</dd></div>
        </dl>
        ${heldOutByClients(state)}
      </div>
      <div class="charts">
        <fedra-line-chart class="tall" kind=${kind} .points=${state.history}></fedra-line-chart>
        <fedra-line-chart kind="loss" .points=${state.history}></fedra-line-chart>
      </div>
    </section>
  `;
}

/** The same for a task without held-out examples. */
function unmeasured(state: PageState): TemplateResult {
  return html`
    <section class="learned" aria-labelledby="learned">
      <div class="verdict">
        <h2 id="learned">The shared model has learnt for</h2>
        <p class="figure" id="headline">${whole(roundsOf(state))}</p>
        <p class="of">${roundsOf(state) === 1 ? 'round' : 'rounds'}.</p>
        ${heldOutByClients(state)}
      </div>
      <p class="of unmeasured">
        The aggregator has no examples of its own to test the model
        on${state.kind === 'image' ? ': what the classes mean is up to those who take part. Try it above.' : '.'}
      </p>
    </section>
  `;
}

/** The newest scores on what the tabs themselves hold out. */
function heldOutByClients({ byClients, kind }: PageState): TemplateResult | typeof nothing {
  if (!byClients) return nothing;
  const { accuracy, loss, round } = byClients;
  const own = kindWords(kind).own;
  const score = accuracy === undefined ? `a loss of ${loss.toFixed(3)}` : `${percent(accuracy)} right`;
  return html`<p class="of" id="by-clients">On ${own} that those who take part hold out: ${score}, in round ${whole(round)}.</p>`;
}

/** Completed rounds: an event of the client is ahead of the task. */
function roundsOf({ task, history, model }: PageState): number {
  return Math.max(task?.round ?? 0, history.at(-1)?.round ?? 0, model?.round ?? 0);
}

/** The newest model: an event of the client is ahead of the task. */
function files({ task, model }: PageState, api: string): TemplateResult | typeof nothing {
  return task ? takeAway(api, task.id, model ?? task.model) : nothing;
}

function thisTab(state: PageState): TemplateResult {
  const { backend, traffic, lastUpdate } = state;
  const computes = backend ? (backend.backend === 'webgpu' ? 'WebGPU' : 'CPU') : '–';
  return html`
    <section class="tab" aria-labelledby="tab">
      <h2 id="tab">This tab</h2>
      <dl class="facts">
        <div>
          <dt>Computes on</dt>
          <dd id="backend">${computes}${backend?.adapter ? html` <small>${backend.adapter}</small>` : nothing}</dd>
          <dd class="why">${backend ? sentence(backend.reason) : 'Chosen when you start.'}</dd>
        </div>
        <div>
          <dt>Sent</dt>
          <dd id="sent">${bytes(traffic?.bytesUp ?? 0)}</dd>
          <dd class="why">${updateWords(state.accepted, lastUpdate)}</dd>
        </div>
        <div>
          <dt>Received</dt>
          <dd id="received">${bytes(traffic?.bytesDown ?? 0)}</dd>
          <dd class="why">${modelWords(state)}</dd>
        </div>
        <div>
          <dt>Trains on</dt>
          <dd>${state.examples > 0 ? html`${whole(state.examples)} <small>${kindWords(state.kind).examples}</small>` : '–'}</dd>
          <dd class="why">${trainsOn(state)}</dd>
        </div>
      </dl>
    </section>
  `;
}

/** The origin of this tab's examples. */
function trainsOn({ own, kind, data, shard }: PageState): string {
  if (own) return 'Your own files; they stay here.';
  if (kind === 'image') return 'Your own pictures; they stay here.';
  if (kind === 'other') return 'Nothing: this page has no examples for it.';
  if (kind === 'digits' || !data)
    return shard === undefined
      ? 'One part in a hundred of the public set, drawn by chance.'
      : `Part ${shard} of the public set; it stays here.`;
  if (data.parts.length === 0) return 'Your own files, once you give them.';
  if (shard === undefined) return `One of ${whole(data.parts.length)} parts of the public data, drawn by chance.`;
  return `Part ${shard} of the public data, ${data.parts[shard]?.title ?? 'which is not there'}; it stays here.`;
}

function modelWords({ model, task }: PageState): string {
  if (!model) return 'Shared models, as rounds go by.';
  const size = `One model is ${bytes(model.bytes)}`;
  return task ? `${size}: ${whole(task.model.parameters)} numbers.` : `${size}.`;
}

function updateWords(accepted: number, last: PageState['lastUpdate']): string {
  if (!last) return 'Only changes to the model.';
  const sum = `${whole(accepted)} ${accepted === 1 ? 'change' : 'changes'} accepted.`;
  if (last.outcome === 'accepted') return sum;
  const why = last.message ?? last.fault;
  return `${sum} The last was ${last.outcome}${why ? `: ${why}` : ''}.`;
}

customElements.define('fedra-demo', FedraDemo);
