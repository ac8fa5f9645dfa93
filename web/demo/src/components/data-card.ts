/** The data of the task in view: what an example is, where the examples come from. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { dataWords } from '../data-words.js';
import type { PageState } from '../state.js';
import type { DataKind } from '../task-data.js';
import { whole } from '../words.js';

/** Nothing until the task's data are known. */
export function dataCard({ kind, data, task }: Pick<PageState, 'kind' | 'data' | 'task'>): TemplateResult | typeof nothing {
  if (!kind || !task) return nothing;
  const { example, facts } = dataWords(kind, data, task.model);
  return html`<section class="data" aria-labelledby="data">
    <div>
      <h2 id="data">What it learns from</h2>
      <p class="of">${example}</p>
      <p class="of">${origin(kind, data)}</p>
    </div>
    <dl>
      ${facts.map(([name, words]) => html`<div><dt>${name}</dt><dd>${words}</dd></div>`)}
    </dl>
  </section>`;
}

function origin(kind: DataKind, data: PageState['data']): string {
  if (kind === 'digits') return 'A public set of 60,000 digits is cut into a hundred parts; each tab draws one.';
  if (!data || data.parts.length === 0) return 'There are no examples to begin with: everybody who takes part brings their own.';
  return `The public data are cut into ${whole(data.parts.length)} parts; each tab draws one.`;
}

/** The source and the licence of the data, for the foot of the page. */
export function dataSource({ kind, data, task }: Pick<PageState, 'kind' | 'data' | 'task'>): TemplateResult | typeof nothing {
  if (kind === 'digits') {
    return html`Digits: MNIST by Yann LeCun, Corinna Cortes and Christopher Burges, made from data of NIST; commonly
      redistributed under CC BY-SA 3.0. ${task?.evaluated ? 'The model is judged on other digits, at the server.' : 'No digits are held out at the server.'}`;
  }
  if (!data || !task) return nothing;
  const judged = task.evaluated ? 'The model is judged on other examples, at the server.' : 'No examples are held out at the server.';
  if (!data.source) return html`What you give to this tab stays in it. ${judged}`;
  return html`${data.source.words} ${data.source.licence} ${judged}`;
}
