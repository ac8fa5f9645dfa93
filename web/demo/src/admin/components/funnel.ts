/** Counts of the round's clients, from connected to reported, as bars. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { TaskSummary } from '../../generated/http-api.js';
import { whole } from '../../words.js';

export function funnel({ clients_connected: connected, cohort }: TaskSummary): TemplateResult {
  const most = Math.max(connected, cohort.invited, 1);
  const goal = cohort.invited > 0 ? html` <small>of ${whole(cohort.report_goal)} wanted</small>` : nothing;
  return html`<dl class="funnel">
    ${step('connected', 'Connected', connected, most)} ${step('invited', 'Invited', cohort.invited, most)}
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
