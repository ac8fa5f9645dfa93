/** Links to the newest model's files and its card. */

import type { TemplateResult } from 'lit';
import { html } from 'lit';
import { downloads } from '../downloads.js';
import type { Model } from '../generated/http-api.js';
import { whole } from '../words.js';

export function takeAway(api: string, task: string, model: Pick<Model, 'sha256' | 'round'>): TemplateResult {
  return html`<section class="take" aria-labelledby="take">
    <h2 id="take">Take the model away</h2>
    <p class="of">${model.round === 0 ? 'The initial model' : `The model after round ${whole(model.round)}`}, as a file.</p>
    <ul class="files">
      ${downloads(api, task, model).map(
        ({ title, why, href, name }) => html`<li><a href=${href} download=${name}>${title}</a><small>${why}</small></li>`,
      )}
    </ul>
  </section>`;
}
