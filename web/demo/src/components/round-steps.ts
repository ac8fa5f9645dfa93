/** The steps of a round, below its picture. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { PageState } from '../state.js';
import { roundSteps } from '../words.js';

export function roundWay(state: PageState, sumsOnly: boolean): TemplateResult {
  return html`<ol class="steps" aria-label="Steps of a round">
    ${roundSteps(state.round, sumsOnly).map(
      ({ name, when }) => html`<li data-when=${when} aria-current=${when === 'now' ? 'step' : nothing}>${name}</li>`,
    )}
  </ol>`;
}
