/** The outcome of the operator's last order: a failure with its mistakes, or a notice. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { Mistake } from '../../generated/http-api.js';
import type { Action, DeskState } from '../state.js';
import { failureWords } from '../words.js';

/** The failure of the last order, if it was one of `actions`; and the notice. */
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

/** A mistake in a line of the list. One of several lines is of TOML itself, and marks its place. */
function mistakeLine({ path, problem }: Mistake): TemplateResult {
  if (problem.includes('\n')) return html`<li><pre>${problem}</pre></li>`;
  return html`<li>${path === '' ? nothing : html`<code>${path}</code>: `}${problem}</li>`;
}
