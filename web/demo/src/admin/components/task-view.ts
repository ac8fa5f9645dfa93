/** One task: its standing, its round, its charts, its privacy budget. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { qualities } from '../../api.js';
import { classTable } from '../../components/class-table.js';
import { gauge } from '../../components/gauge.js';
import { takeAway } from '../../components/take-away.js';
import type { Headline, OperatedTask, Quality, TaskSummary } from '../../generated/http-api.js';
import { HEADLINES, headlineOf, otherMetrics } from '../../metrics.js';
import { limit, oneIn, policyLabel } from '../../privacy-words.js';
import { bytes, roundSteps, whole } from '../../words.js';
import type { Desk } from '../desk.js';
import type { DeskState, Shown } from '../state.js';
import { standOf } from '../state.js';
import { failingWords, phaseSentence, STANDS, standSentence } from '../words.js';
import { funnel } from './funnel.js';
import './operate.js';
import { decisionsTable, failuresTable, roundsTable } from './tables.js';

export function taskView(task: Shown, state: DeskState, desk: Desk | undefined, api: string, signIn: () => void): TemplateResult {
  const { operated } = state;
  const stand = standOf(task);
  return html`
    <header class="title">
      <h1 id="title">${task.title}</h1>
      <span class="stand" id="stand" data-stand=${stand}>${STANDS[stand]}</span>
      <p class="of"><code>${task.id}</code>${sizeWords(task)} ${policyLabel(task.privacy?.policy)}.</p>
      <fedra-operate .state=${state} .desk=${desk} @sign-in=${signIn}></fedra-operate>
    </header>
    ${stand === 'failing' ? failing(task) : nothing} ${round(task, standSentence(stand, task.health))} ${quality(task)} ${charts(task)} ${privacy(task)}
    ${classTable(task.classes, task.latest?.round)} ${rounds(task)} ${takeAway(api, task.id, task.model)} ${failures(task)} ${operated ? confidential(operated) : nothing}
  `;
}

function sizeWords({ model }: TaskSummary): string {
  return ` · ${whole(model.parameters)} numbers, ${bytes(model.bytes)}.`;
}

/** The newest model that was evaluated: here, and by the clients. */
function quality({ latest, latest_by_clients: byClients, headline }: TaskSummary): TemplateResult {
  return html`${qualityOf('quality', 'Held-out examples', latest, headline)}
    ${qualityOf('quality-by-clients', 'Examples held out by the clients', byClients, headline)}`;
}

function qualityOf(id: string, heading: string, latest: Quality | null, headline: Headline): TemplateResult | typeof nothing {
  if (!latest) return nothing;
  const first = headlineOf(latest, headline);
  const { title, words } = HEADLINES[headline];
  const figures = [
    ...(first === null ? [] : [[title, words(first)] as const]),
    ...otherMetrics(latest, headline),
    ...(latest.loss === null ? [] : [['Loss', latest.loss.toFixed(3)] as const]),
  ];
  return html`<section class="quality" aria-labelledby=${id}>
    <h2 id=${id}>${heading} <small>model of round ${whole(latest.round)}</small></h2>
    <dl class="facts">${figures.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
  </section>`;
}

function rounds({ history, headline }: Shown): TemplateResult | typeof nothing {
  if (!history) return nothing;
  return html`<section aria-labelledby="rounds">
    <h2 id="rounds">Rounds</h2>
    ${roundsTable(history, headline)}
  </section>`;
}

function failing({ health }: TaskSummary): TemplateResult {
  const { title, text } = failingWords(health);
  return html`<div class="message problem" id="failing" role="status"><strong>${title}</strong><p>${text}</p></div>`;
}

function failures({ health }: TaskSummary): TemplateResult | typeof nothing {
  if (health.failures.length === 0) return nothing;
  return html`<section aria-labelledby="failures">
    <h2 id="failures">Invitations that came to nothing</h2>
    ${failuresTable(health.failures)}
  </section>`;
}

/** The round that is being made. */
function round(task: TaskSummary, stand: string | undefined): TemplateResult {
  const finished = task.phase === 'finished';
  const total = task.rounds_total === null ? '' : `of ${whole(task.rounds_total)}`;
  const attempt = task.attempt > 0 && !finished ? `attempt ${whole(task.attempt + 1)}` : '';
  return html`<section class="now" aria-labelledby="now">
    <div>
      <h2 id="now">${finished ? 'Rounds done' : 'Round'}</h2>
      <p class="figure" id="round">${whole(finished ? task.round : task.round + 1)}</p>
      <p class="of">${[total, attempt].filter((part) => part !== '').join(', ') || '\u00a0'}</p>
    </div>
    <div class="course">
      <ol class="steps" aria-label="Steps of a round">
        ${roundSteps(task, task.privacy?.policy === 'distributed').map(({ name, when }) => html`<li data-when=${when} aria-current=${when === 'now' ? 'step' : nothing}>${name}</li>`)}
      </ol>
      <p class="phase" id="phase">${stand === undefined ? nothing : html`<strong>${stand}</strong> `}${phaseSentence(task)}</p>
      ${funnel(task)}
    </div>
  </section>`;
}

function charts({ history, latest, headline }: Shown): TemplateResult | typeof nothing {
  if (!history) return nothing;
  const judged = qualities({ history, latest });
  return html`<section class="grid" aria-label="Over the rounds">
    <fedra-line-chart newest kind=${headline} .points=${judged}></fedra-line-chart>
    <fedra-line-chart newest kind="loss" .points=${judged}></fedra-line-chart>
    <fedra-line-chart newest kind="seconds" .points=${history}></fedra-line-chart>
    <fedra-line-chart newest kind="bytes" .points=${history}></fedra-line-chart>
  </section>`;
}

function privacy({ privacy: terms }: TaskSummary): TemplateResult | typeof nothing {
  if (!terms) return nothing;
  const { spent_epsilon: value, epsilon: most } = terms;
  const note = terms.counts_subjects ? 'Of the subject that took part most.' : 'Every round counts against everybody.';
  return html`<section class="budget" aria-labelledby="budget">
    <h2 id="budget">Privacy budget</h2>
    ${gauge({ id: 'epsilon', name: 'Spent', value, next: undefined, most, note })}
    <dl class="facts">
      ${fact('Debits', whole(terms.debits), terms.counts_subjects ? `Of ${whole(terms.subjects)} subjects.` : 'Attempts that asked for noised updates.')}
      ${fact('Noise', `${limit(terms.noise_multiplier)} ×`, 'In units of what one client can change at most.')}
      ${fact('In every sum', `at least ${whole(terms.minimum_survivors)}`, terms.colluders > 0 ? `Of them ${whole(terms.colluders)} may collude.` : 'With fewer a round is thrown away.')}
      ${fact('Chance left out', oneIn(terms.delta), 'The promise may fail that rarely; its δ (delta).')}
    </dl>
  </section>`;
}

function fact(name: string, value: string, why: string): TemplateResult {
  return html`<div>
    <dt>${name}</dt>
    <dd>${value}</dd>
    <dd class="why">${why}</dd>
  </div>`;
}

/** The parts that only operators see. */
function confidential({ decisions, config }: OperatedTask): TemplateResult {
  return html`
    <section aria-labelledby="decisions">
      <h2 id="decisions">Decisions</h2>
      ${decisionsTable(decisions)}
    </section>
    <section aria-labelledby="config">
      <h2 id="config">Configuration</h2>
      <p class="settings">${config}</p>
    </section>
  `;
}
