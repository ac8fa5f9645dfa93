/** The data of the task in view: what an example is, where the examples come from. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { dataWords } from '../data-words.js';
import type { PageState } from '../state.js';
import { whole } from '../words.js';

/** Nothing until the task's data are known. */
export function dataCard({ kind, data }: Pick<PageState, 'kind' | 'data'>): TemplateResult | typeof nothing {
  if (!kind) return nothing;
  const { example, facts } = dataWords(data);
  return html`<section class="data" aria-labelledby="data">
    <div>
      <h2 id="data">What it learns from</h2>
      <p class="of">${example}</p>
      <p class="of">${origin(data)}</p>
    </div>
    <dl>
      ${facts.map(([name, words]) => html`<div><dt>${name}</dt><dd>${words}</dd></div>`)}
    </dl>
  </section>`;
}

function origin(data: PageState['data']): string {
  if (!data) return 'A public set of 60,000 digits is cut into a hundred parts; each tab draws one.';
  const { parts } = data;
  if (parts.length === 0) return 'There are no examples to begin with: everybody who takes part brings their own.';
  return `The public data are cut into ${whole(parts.length)} parts; each tab draws one.`;
}

/** The source and the licence of the data, for the foot of the page. */
export function dataSource({ kind, data }: Pick<PageState, 'kind' | 'data'>): TemplateResult | typeof nothing {
  if (kind === 'digits') {
    return html`Digits: MNIST by Yann LeCun, Corinna Cortes and Christopher Burges, made from data of NIST; commonly
      redistributed under CC BY-SA 3.0. The model is judged on other digits, at the server.`;
  }
  if (!data) return nothing;
  const judged = data.held_out ? 'The model is judged on other examples, at the server.' : 'No examples are held out at the server.';
  if (!data.source) return html`The pictures are your own, and stay in this tab. ${judged}`;
  return html`${data.source.words} ${data.source.licence} ${judged}`;
}
