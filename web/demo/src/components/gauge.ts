/** A privacy budget as a bar: the part spent, and the part that one more round would add. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import { epsilon, limit } from '../privacy-words.js';

export interface Gauge {
  readonly id: string;
  readonly name: string;
  /** Epsilon spent; null as long as it is not known. */
  readonly value: number | null;
  readonly next: number | undefined;
  readonly most: number | null;
  readonly note: string;
}

/** The part of a limit that is spent; without a limit only the number. */
export function gauge({ id, name, value, next, most, note }: Gauge): TemplateResult {
  const words = value === null ? 'not known yet' : `ε ${epsilon(value)}${most === null ? '' : ` of ${limit(most)}`}`;
  const share = (amount: number | null | undefined) => (most ? Math.min(1, Math.max(0, (amount ?? 0) / most)) : 0);
  const width = (amount: number) => `inline-size: ${(100 * amount).toFixed(2)}%`;
  return html`<div class="gauge" id=${id}>
    <span class="name">${name}</span>
    <span class="value" aria-hidden="true">${value === null ? '–' : html`<small>ε</small> ${epsilon(value)}${most === null ? nothing : html` <small>of ${limit(most)}</small>`}`}</span>
    ${
      most === null
        ? html`<span class="unseen">${words}</span>`
        : html`<div
          class="bar"
          role="meter"
          aria-label=${name}
          aria-valuemin="0"
          aria-valuemax=${limit(most)}
          aria-valuenow=${Math.min(value ?? 0, most).toFixed(4)}
          aria-valuetext=${words}
          aria-describedby="${id}-note"
        >
          <span class="next" .style=${width(share(next))}></span>
          <span class="spent" .style=${width(share(value))}></span>
        </div>`
    }
    <span class="note" id="${id}-note">${note}</span>
  </div>`;
}
