/** Tables of rounds, failures and decisions. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { Decision, Failure, Headline, OperatedRound, Round } from '../../generated/http-api.js';
import { HEADLINES, headlineOf } from '../../metrics.js';
import { bytes, sentence, whole } from '../../words.js';
import { decisionWords, moment, shortSeconds } from '../words.js';

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

/** Rounds as operators are told of them say also who was asked. */
export function roundsTable(history: readonly (Round | OperatedRound)[], headline: Headline): TemplateResult {
  const rows = history.slice(-MOST_ROWS).reverse();
  if (rows.length === 0) return html`<p class="none">The first completed round will be here.</p>`;
  const asked = rows.every(isOperated) ? ['Invited', 'Attempt'] : [];
  return table(
    'Completed rounds',
    ['Round', HEADLINES[headline].title, 'Loss', 'Updates', ...asked, 'Took', 'From clients', 'To clients'],
    rows.map((round) => roundRow(round, headline)),
  );
}

function isOperated(round: Round | OperatedRound): round is OperatedRound {
  return 'cohort' in round;
}

function remarks(round: Round, restored: number | undefined): string[] {
  return [
    ...(restored === undefined ? [] : [`back to ${whole(restored)}`]),
    ...(round.by_clients ? ['evaluation by the clients'] : []),
    ...(round.refused ? ['refused by the gate'] : []),
  ];
}

function roundRow(round: Round | OperatedRound, headline: Headline): TemplateResult {
  const metrics = round.by_clients ?? round;
  const value = headlineOf(metrics, headline);
  const operated = isOperated(round) ? round : undefined;
  // A roll-back is a round without work.
  const worked = round.reports > 0;
  const asked = operated
    ? html`<td>${worked ? whole(operated.cohort) : '–'}</td><td>${worked ? whole(operated.attempt + 1) : '–'}</td>`
    : nothing;
  return html`<tr>
    <th scope="row">${whole(round.round)}${remarks(round, operated?.restored).map((remark) => html` <small>${remark}</small>`)}</th>
    <td>${value === null ? '–' : HEADLINES[headline].words(value)}</td>
    <td>${metrics.loss === null ? '–' : metrics.loss.toFixed(3)}</td>
    <td>${worked ? whole(round.reports) : '–'}</td>
    ${asked}
    <td>${worked ? shortSeconds(round.seconds) : '–'}</td>
    <td>${worked ? bytes(round.bytes_up) : '–'}</td>
    <td>${worked ? bytes(round.bytes_down) : '–'}</td>
  </tr>`;
}

/** Since the server started, the most frequent first. */
export function failuresTable(failures: readonly Failure[]): TemplateResult {
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
        <th scope="row"><time datetime=${new Date(decision.unix_seconds * 1000).toISOString()}>${moment(decision.unix_seconds)}</time></th>
        <td>${decisionWords(decision)}</td>
      </tr>`,
    ),
    'narrow',
  );
}
