/**
 * Protection of the visitor: the policy as text, its cost in numbers, gauges that
 * move with every round, and the parties left to trust.
 */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { Protection } from '../privacy.js';
import { epsilon, exampleWords, howWords, limit, meaningWords, oneIn, promise, trustWords } from '../privacy-words.js';
import { whole } from '../words.js';
import { gauge } from './gauge.js';

/** `alternative` is the title of a private task, where this one is not. */
export function protection(terms: Protection | undefined, alternative: string | undefined): TemplateResult {
  return html`
    <section class="protection" aria-labelledby="protection" data-policy=${terms?.policy ?? 'unknown'}>
      <div class="verdict">
        <h2 id="protection">What protects you</h2>
        <p class="promise" id="policy">${terms ? promise(terms) : '–'}</p>
        <p class="of">${terms ? howWords(terms) : 'That is the task’s choice; it shows once the aggregator answers.'}</p>
      </div>
      ${terms ? account(terms, alternative) : nothing}
    </section>
  `;
}

function account(terms: Protection, alternative: string | undefined): TemplateResult {
  const isPrivate = terms.policy !== 'none';
  return html`<div class="account">
    ${isPrivate ? html`<div class="gauges">${yours(terms)}${everybodys(terms)}</div>${figures(terms)}` : nothing}
    <div class="explained">
      <div>
        <h3>Who you must trust</h3>
        <p id="trust">${trustWords(terms)}</p>
      </div>
      ${
        isPrivate
          ? html`<div>
            <h3>What the numbers mean</h3>
            <p id="meaning">${meaningWords(terms)} ${exampleWords(terms) ?? nothing}</p>
          </div>`
          : alternative
            ? html`<div>
              <h3>What you can do</h3>
              <p>The task “${alternative}” trains privately. You can choose it at the top of this page.</p>
            </div>`
            : nothing
      }
    </div>
  </div>`;
}

function yours(terms: Protection): TemplateResult {
  const { spent, next, budget } = terms;
  const note = spent === null ? 'Known once this tab is connected.' : nextWords(terms);
  const goesOn = next !== null && !isLast(terms) && (budget === null || next <= budget);
  return gauge({ id: 'your-epsilon', name: 'Your total', value: spent, next: goesOn ? next : undefined, most: budget, note });
}

function isLast({ maxParticipations, participations }: Protection): boolean {
  return maxParticipations !== null && participations !== null && participations >= maxParticipations;
}

function nextWords(terms: Protection): string {
  const { budget, next } = terms;
  if (isLast(terms)) return 'You have taken part as often as the task allows.';
  if (next === null) return '';
  if (budget !== null && next > budget) return 'One more round would cost more than was promised, so there is none.';
  return `One more round brings it to ${epsilon(next)}.`;
}

function everybodys({ taskSpent, budget }: Protection): TemplateResult {
  const note = 'Of whoever took part most; the task ends before it passes the limit.';
  return gauge({ id: 'task-epsilon', name: 'The task’s budget', value: taskSpent, next: undefined, most: budget, note });
}

function figures(terms: Protection): TemplateResult {
  const { round, participations, maxParticipations, minimumSurvivors, noiseMultiplier, delta, sumsOnly } = terms;
  const rounds = maxParticipations === null ? nothing : html` <small>of ${whole(maxParticipations)}</small>`;
  const strength = noiseMultiplier === null ? '' : `With noise of ${limit(noiseMultiplier)} times what one tab can change.`;
  return html`<dl class="facts">
    <div>
      <dt>A round costs you</dt>
      <dd id="round-cost">${round === null ? '–' : html`<small>ε</small> ${epsilon(round)}`}</dd>
      <dd class="why">Taken alone. Together, rounds cost less than their sum.</dd>
    </div>
    <div>
      <dt>Your rounds</dt>
      <dd id="your-rounds">${participations === null ? '–' : whole(participations)}${rounds}</dd>
      <dd class="why">Counted in this browser; clearing its storage starts the count over.</dd>
    </div>
    ${
      sumsOnly
        ? html`<div>
          <dt>In every sum</dt>
          <dd id="sum">${minimumSurvivors === null ? '–' : html`<small>at least</small> ${whole(minimumSurvivors)}`}</dd>
          <dd class="why">A round with fewer people is thrown away unread. ${strength}</dd>
        </div>`
        : html`<div>
          <dt>Noise</dt>
          <dd id="noise">${noiseMultiplier === null ? '–' : `${limit(noiseMultiplier)} ×`}</dd>
          <dd class="why">In units of what one tab can change at most.</dd>
        </div>`
    }
    <div>
      <dt>Chance left out</dt>
      <dd id="delta">${delta === null ? '–' : oneIn(delta)}</dd>
      <dd class="why">The promise may fail that rarely; its δ (delta).</dd>
    </div>
  </dl>`;
}
