/**
 * The tasks to choose from, as links: each has an address that can be kept,
 * and a click changes the task without loading the page again.
 */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { TaskSummary } from '../api.js';
import { policyLabel } from '../privacy-words.js';

/** Links to the tasks; empty if there is no choice. `address` is the page's own. */
export function taskSwitch(
  tasks: readonly TaskSummary[],
  current: string | undefined,
  address: string,
  choose: (href: string) => void,
): TemplateResult | typeof nothing {
  if (tasks.length < 2) return nothing;
  const follow = (event: MouseEvent, href: string) => {
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    choose(href);
  };
  return html`<nav class="tasks" aria-label="Task">
    ${tasks.map(({ id, title, privacy }) => {
      const href = addressOf(address, id);
      return html`<a href=${href} aria-current=${id === current ? 'true' : nothing} @click=${(event: MouseEvent) => follow(event, href)}>
        <span class="title">${title}</span><small>${policyLabel(privacy?.policy)}</small>
      </a>`;
    })}
  </nav>`;
}

function addressOf(address: string, task: string): string {
  const url = new URL(address);
  url.searchParams.set('task', task);
  // Starting is the visitor's own decision in every task.
  url.searchParams.delete('start');
  url.hash = '';
  return url.href;
}
