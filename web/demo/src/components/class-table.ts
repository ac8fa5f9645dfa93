/** Classes of a model: how many examples of each are found, and what the others are taken for. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { Classes, ClassMetrics } from '../generated/http-api.js';
import { MOST_CLASSES, partOf, shownClasses } from '../metrics.js';
import { percent, whole } from '../words.js';

/** Nothing until a model was evaluated that has classes. `names` are those of the classes, where they have any but their numbers. */
export function classTable(
  classes: Classes | null | undefined,
  round: number | undefined,
  names?: readonly string[],
): TemplateResult | typeof nothing {
  if (!classes) return nothing;
  const few = classes.metrics.length <= MOST_CLASSES;
  const of = round === undefined ? '' : `, after round ${whole(round)}`;
  return html`<section class="classes" aria-labelledby="classes">
    <h2 id="classes">Class by class</h2>
    <p class="of">
      On held-out examples${of}${few ? '' : `; the ${MOST_CLASSES} classes of which it finds least`}. Recall is the part of a
      class that it finds, precision the part of what it takes for the class that is right.
    </p>
    <div class="pair">${recalls(classes, names)} ${few ? matrix(classes, names) : nothing}</div>
  </section>`;
}

function recalls(classes: Classes, names: readonly string[] | undefined): TemplateResult {
  const rows = shownClasses(classes).flatMap((number) => {
    const metrics = classes.metrics[number];
    return metrics ? [recallRow(names?.[number] ?? String(number), metrics)] : [];
  });
  return html`<table class="recalls">
    <thead>
      <tr><th scope="col">Class</th><th scope="col">Examples</th><th scope="col" colspan="2">Recall</th><th scope="col">Precision</th></tr>
    </thead>
    <tbody>${rows}</tbody>
  </table>`;
}

function recallRow(name: string, { examples, recall, precision }: ClassMetrics): TemplateResult {
  return html`<tr>
    <th scope="row">${name}</th>
    <td>${whole(examples)}</td>
    <td class="found" aria-hidden="true"><span .style=${`inline-size: ${(100 * (recall ?? 0)).toFixed(1)}%`}></span></td>
    <td>${recall === null ? '–' : percent(recall)}</td>
    <td>${precision === null ? '–' : percent(precision)}</td>
  </tr>`;
}

function matrix({ confusion }: Classes, names: readonly string[] | undefined): TemplateResult {
  const heads = confusion.map((_, number) => html`<th scope="col">${names?.[number] ?? number}</th>`);
  return html`<div class="scroll" role="region" aria-label="Confusion matrix" tabindex="0">
    <table class="confusion ${names ? 'named' : ''}">
      <caption>Rows: the class. Columns: what the model takes it for.</caption>
      <thead><tr><td></td>${heads}</tr></thead>
      <tbody>
        ${confusion.map(
          (row, number) => html`<tr>
            <th scope="row">${names?.[number] ?? number}</th>
            ${row.map((count, taken) => cell(count, partOf(count, row), number === taken))}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function cell(count: number, part: number, isRight: boolean): TemplateResult {
  const kind = isRight ? 'right' : 'wrong';
  // A square root shows small parts too.
  const ink = `--part: ${Math.sqrt(part).toFixed(3)}`;
  return html`<td data-kind=${kind} .style=${ink}>${count === 0 ? html`<span aria-label="0">·</span>` : whole(count)}</td>`;
}
