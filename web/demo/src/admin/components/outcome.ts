/** What became of the operator's last order. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { Mistake } from '../../generated/http-api.js';
import type { Action, DeskState } from '../state.js';
import { failureWords } from '../words.js';

/** Only of these orders: each kind is told where it was given. */
export function outcome({ failure, notice }: DeskState, actions: readonly Action[]): TemplateResult {
  const told = failure && actions.includes(failure.action) ? failure : undefined;
  const { title, text } = told ? failureWords(told) : { title: '', text: '' };
  const mistakes = told?.mistakes ?? [];
  return html`
    <div role="alert">
      ${
        told
          ? html`<div class="message problem" data-code=${told.code}>
            <strong>${title}</strong>
            <p>${text}</p>
            ${
              mistakes.length > 0
                ? html`<ul class="mistakes">
                  ${mistakes.map(mistakeLine)}
                </ul>`
                : nothing
            }
          </div>`
          : nothing
      }
    </div>
    <div role="status">${notice === undefined ? nothing : html`<div class="message notice"><p>${notice}</p></div>`}</div>
  `;
}

/** What is wrong with TOML itself is several lines, with a mark below the place. */
function mistakeLine({ path, problem }: Mistake): TemplateResult {
  if (problem.includes('\n')) return html`<li><pre>${problem}</pre></li>`;
  return html`<li>${path === '' ? nothing : html`<code>${path}</code>: `}${problem}</li>`;
}
