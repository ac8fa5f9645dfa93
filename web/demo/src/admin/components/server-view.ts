/** The server as a whole, for operators. */

import type { TemplateResult } from 'lit';
import { html, nothing } from 'lit';
import type { ServerStatus } from '../../generated/http-api.js';
import { bytes, whole } from '../../words.js';
import { hashOf, standOf } from '../state.js';
import { duration, STANDS } from '../words.js';

export function serverView(status: ServerStatus | undefined): TemplateResult {
  return html`
    <header class="title">
      <h1 id="title">Server</h1>
      <p class="of">${status ? `Version ${status.version}.` : '\u00a0'} What a monitoring system reads is under <a href="../metrics">metrics</a>.</p>
    </header>
    ${status?.draining ? html`<div class="message notice"><p>The server is about to stop: no round begins any more.</p></div>` : nothing}
    ${status ? html`${setAside(status)}${facts(status)}${tasks(status)}` : nothing}
  `;
}

function setAside({ set_aside: all }: ServerStatus): TemplateResult | typeof nothing {
  if (all.length === 0) return nothing;
  return html`<div class="message notice" id="set-aside">
    ${all.map(({ id, reason }) => html`<p>The task ${id} could not start: ${reason}</p>`)}
  </div>`;
}

function facts(status: ServerStatus): TemplateResult {
  const { uptime_seconds: uptime, memory_bytes: memory, connections, sessions } = status;
  return html`<section aria-label="Now">
    <dl class="facts large">
      <div><dt>Running for</dt><dd id="uptime">${duration(uptime)}</dd></div>
      <div><dt>Memory</dt><dd id="memory">${memory === null ? 'not known' : bytes(memory)}</dd></div>
      <div><dt>Connections</dt><dd id="connections">${whole(connections)}</dd><dd class="why">${whole(sessions)} of them clients.</dd></div>
      <div><dt>Uploads under way</dt><dd id="uploads">${bytes(status.upload_bytes_in_flight)}</dd><dd class="why">There may be ${bytes(status.upload_budget_bytes)}.</dd></div>
    </dl>
  </section>`;
}

function tasks({ tasks: all }: ServerStatus): TemplateResult {
  return html`<section aria-labelledby="all">
    <h2 id="all">Tasks</h2>
    <div class="scroll" role="region" aria-label="Tasks" tabindex="0">
      <table>
        <thead>
          <tr>
            <th scope="col">Task</th><th scope="col" class="words">State</th><th scope="col">Rounds done</th><th scope="col">Connected</th
            ><th scope="col">Invited</th><th scope="col">Reported</th><th scope="col">Left or refused</th>
          </tr>
        </thead>
        <tbody>
          ${all.map(
            (task) => html`<tr>
              <th scope="row"><a href=${hashOf(task.id)}>${task.id}</a></th>
              <td class="words">${STANDS[standOf(task)]}</td>
              <td>${whole(task.round)}</td>
              <td>${whole(task.clients_connected)}</td>
              <td>${whole(task.cohort.invited)}</td>
              <td>${whole(task.cohort.reported)}</td>
              <td>${whole(task.cohort.left)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}
