/** Probabilities of named classes as bars, the most likely one marked. */

import type { TemplateResult } from 'lit';
import { html } from 'lit';
import { percent } from '../words.js';

/** The number of the most likely class; undefined while there is no answer for these classes. */
export function bestOf(probabilities: Float32Array | undefined, classes: readonly string[]): number | undefined {
  if (!probabilities || probabilities.length !== classes.length) return undefined;
  return probabilities.indexOf(Math.max(...probabilities));
}

export function shares(classes: readonly string[], probabilities: Float32Array | undefined, label: string): TemplateResult {
  const best = bestOf(probabilities, classes);
  return html`<ol class="shares" aria-label=${label}>
    ${classes.map((name, index) => {
      const share = best === undefined ? 0 : (probabilities?.[index] ?? 0);
      return html`<li class=${best === index ? 'best' : ''}>
        <span class="name">${name}</span>
        <span class="track" aria-hidden="true"><span .style="transform: scaleX(${share.toFixed(3)})"></span></span>
        <span class="value">${best === undefined ? '–' : percent(share, 0)}</span>
      </li>`;
    })}
  </ol>`;
}
