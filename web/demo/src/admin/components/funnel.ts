/** Counts of the round's clients, from connected to reported, as bars. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { whole } from '../../words.js';
import type { TaskReport } from '../report.js';

export function funnel({ clientsConnected, cohort }: TaskReport): TemplateResult {
  const most = Math.max(clientsConnected, cohort.invited, 1);
  const goal = cohort.invited > 0 ? html` <small>of ${whole(cohort.reportGoal)} wanted</small>` : nothing;
  return html`<dl class="funnel">
    ${step('connected', 'Connected', clientsConnected, most)} ${step('invited', 'Invited', cohort.invited, most)}
    ${step('reported', 'Reported', cohort.reported, most, goal)} ${step('gone', 'Left or refused', cohort.left, most)}
  </dl>`;
}

function step(id: string, name: string, count: number, most: number, beside: TemplateResult | typeof nothing = nothing): TemplateResult {
  return html`<div data-step=${id}>
    <dt>${name}</dt>
    <dd><span class="count">${whole(count)}</span>${beside}</dd>
    <dd class="bar" aria-hidden="true"><span .style=${`inline-size: ${((100 * count) / most).toFixed(2)}%`}></span></dd>
  </div>`;
}
