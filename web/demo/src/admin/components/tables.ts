/** Tables of rounds, failures and decisions. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { bytes, percent, whole } from '../../words.js';
import type { Decision, Failures, PastCohort, RoundReport } from '../report.js';
import { decisionWords, moment, sentence, shortSeconds } from '../words.js';

const MOST_ROWS = 12;

/** A table that scrolls sideways where the page is narrow. */
function table(name: string, heads: readonly string[], rows: readonly TemplateResult[], kind = ''): TemplateResult {
  return html`<div class="scroll" role="region" aria-label=${name} tabindex="0">
    <table class=${kind}>
      <thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
      <tbody>${rows}</tbody>
    </table>
  </div>`;
}

/** Rounds, the newest first. With `cohorts`, which only operators see, also the invited clients. */
export function roundsTable(history: readonly RoundReport[], cohorts: ReadonlyMap<number, PastCohort> | undefined): TemplateResult {
  const rows = history.slice(-MOST_ROWS).reverse();
  if (rows.length === 0) return html`<p class="none">The first completed round will be here.</p>`;
  const asked = cohorts ? ['Invited', 'Attempt'] : [];
  return table(
    'Completed rounds',
    ['Round', 'Accuracy', 'Loss', 'Updates', ...asked, 'Took', 'From clients', 'To clients'],
    rows.map((round) => roundRow(round, cohorts)),
  );
}

function roundRow(round: RoundReport, cohorts: ReadonlyMap<number, PastCohort> | undefined): TemplateResult {
  const past = cohorts?.get(round.round);
  // A roll-back is a round without work.
  const worked = round.reports > 0;
  const asked = cohorts
    ? html`<td>${past && worked ? whole(past.invited) : '–'}</td><td>${past && worked ? whole(past.attempt + 1) : '–'}</td>`
    : nothing;
  return html`<tr>
    <th scope="row">${whole(round.round)}${past?.restored === undefined ? nothing : html` <small>back to ${whole(past.restored)}</small>`}</th>
    <td>${round.accuracy === null ? '–' : percent(round.accuracy)}</td>
    <td>${round.loss === null ? '–' : round.loss.toFixed(3)}</td>
    <td>${worked ? whole(round.reports) : '–'}</td>
    ${asked}
    <td>${worked ? shortSeconds(round.seconds) : '–'}</td>
    <td>${worked ? bytes(round.bytesUp) : '–'}</td>
    <td>${worked ? bytes(round.bytesDown) : '–'}</td>
  </tr>`;
}

/** Failures since the server started, the most frequent first. */
export function failuresTable(failures: readonly Failures[]): TemplateResult {
  return table(
    'Invitations that came to nothing',
    ['Why', 'Invitations'],
    failures.map(
      ({ text, count }) => html`<tr>
        <th scope="row">${sentence(text)}</th>
        <td>${whole(count)}</td>
      </tr>`,
    ),
    'narrow',
  );
}

export function decisionsTable(decisions: readonly Decision[]): TemplateResult {
  const rows = [...decisions].reverse();
  if (rows.length === 0) return html`<p class="none">Nobody has decided anything about this task yet.</p>`;
  return table(
    'Decisions',
    ['When', 'What'],
    rows.map(
      (decision) => html`<tr>
        <th scope="row"><time datetime=${new Date(decision.unixSeconds * 1000).toISOString()}>${moment(decision.unixSeconds)}</time></th>
        <td>${decisionWords(decision)}</td>
      </tr>`,
    ),
    'narrow',
  );
}
