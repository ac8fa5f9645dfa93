/** Texts of the operator's page. Pure. */
import type { HistoryPoint } from '../api.js';
import type { Decision, Headline, Health, Metrics, Phase, TaskState, TaskSummary } from '../generated/http-api.js';
import { HEADLINES, headlineOf } from '../metrics.js';
import { bytes, sentence, whole } from '../words.js';
import type { Action, Problem, Stand } from './state.js';

export const STANDS: Record<Stand, string> = {
  running: 'Running',
  pausing: 'Pausing',
  paused: 'Paused',
  stopped: 'Stopped',
  finished: 'Finished',
  waiting: 'Waiting for clients',
  failing: 'Failing',
};

/** The round's phase, in a sentence. */
export function phaseSentence({ phase, cohort, clients_connected, seconds_left }: TaskSummary): string {
  const limit = seconds_left === null ? '' : ` At most ${duration(seconds_left)} more.`;
  switch (phase) {
    case 'selecting':
      return clients_connected === 0
        ? 'Waiting for clients; nobody is connected.'
        : 'Gathering clients; the round starts when enough are ready.';
    case 'collecting':
      return `Clients are training; ${whole(cohort.reported)} of ${whole(cohort.report_goal)} updates are in.${limit}`;
    case 'sharing':
      return `Clients agree on masks that cancel out in the sum.${limit}`;
    case 'masking':
      return `Masked updates come in; ${whole(cohort.reported)} of ${whole(cohort.report_goal)} are there.${limit}`;
    case 'unmasking':
      return `Clients help to open the sum.${limit}`;
    case 'finalizing':
      return 'The updates are averaged into the new model, which is stored before anybody hears of it.';
    case 'finished':
      return 'There are no more rounds. The models stay.';
    case 'paused':
      return 'No round is made until the task is resumed. Clients stay connected.';
  }
}

/** A task's standing, in a sentence, where its phase does not say it. */
export function standSentence(stand: Stand, { reason }: Health): string | undefined {
  switch (stand) {
    case 'pausing':
      return 'Pausing: the round under way is completed first.';
    case 'stopped':
      return 'Stopped for good by the operator.';
    case 'waiting':
      return reason === null ? undefined : sentence(reason);
    case 'paused':
      // By the task's gate; of an operator's pause the state says enough.
      return reason?.startsWith('paused by the gate') ? sentence(reason) : undefined;
    default:
      return undefined;
  }
}

/** The failure of a task, and its reason. */
export function failingWords({ reason, since, attempts }: Health): Advice {
  const title = attempts === 1 ? 'The last attempt came to nothing' : `The last ${whole(attempts)} attempts came to nothing`;
  return { title, text: `${sentence(reason ?? 'The aggregator does not say why')} Failing since ${moment(Date.parse(since) / 1000)}.` };
}

/** The effect of an order to the task. */
export function doneWords(state: TaskState, phase: Phase): string {
  switch (state) {
    case 'running':
      return 'The task goes on.';
    case 'paused':
      return phase === 'selecting' || phase === 'paused' ? 'The task is paused.' : 'The task pauses once the round under way is completed.';
    case 'stopped':
      return 'The task is stopped for good. Its models stay.';
    case 'finished':
      return 'The task has finished by itself. Its models stay.';
  }
}

export function savedWords(name: string, size: number): string {
  return `Saved ${name}, ${bytes(size)}.`;
}

/** A round to go back to. */
export function checkpointWords(round: number, history: readonly HistoryPoint[], headline: Headline): string {
  const report = history.find((one) => one.round === round);
  const figures = report ? qualityWords(report, headline) : '';
  if (round === 0) return 'The initial model';
  return figures === '' ? `Round ${whole(round)}` : `Round ${whole(round)}: ${figures}`;
}

export function qualityWords(metrics: Metrics, headline: Headline): string {
  const { loss } = metrics;
  const value = headlineOf(metrics, headline);
  const parts = [value === null ? '' : HEADLINES[headline].inline(value), loss === null ? '' : `loss ${loss.toFixed(3)}`];
  return parts.filter((part) => part !== '').join(', ');
}

export function decisionWords({ action, to, round, refused }: Decision): string {
  switch (action) {
    case 'create':
      return 'Created';
    case 'pause':
      return refused === undefined ? 'Paused' : `Paused by the gate, which refused round ${whole(refused)}`;
    case 'resume':
      return 'Resumed';
    case 'stop':
      return 'Stopped for good';
    case 'roll-back':
      return to === undefined
        ? 'Rolled back'
        : `Rolled back to round ${whole(to)}${round === undefined ? '' : `, as round ${whole(round)}`}`;
  }
}

const TRIED: Record<Action, string> = {
  pause: 'The task was not paused',
  resume: 'The task was not resumed',
  stop: 'The task was not stopped',
  'roll-back': 'There was no roll-back',
  export: 'The model was not exported',
  create: 'The task was not created',
};

export interface Advice {
  readonly title: string;
  readonly text: string;
}

/** A failed order and its reason. */
export function failureWords({ action, ...problem }: Problem & { readonly action: Action }): Advice {
  return { title: TRIED[action], text: reason(problem) };
}

function reason({ code, message, mistakes }: Problem): string {
  switch (code) {
    case 'no-server':
      return 'The aggregator did not answer. Look at the state below before you try again: it may have heard you.';
    case 'unknown-task':
      return 'The aggregator does not know this task any more.';
    case 'mistakes':
      if (mistakes.length === 0) return sentence(message || 'The aggregator found mistakes in it');
      return mistakes.length === 1 ? 'There is a mistake in it:' : `There are ${mistakes.length} mistakes in it:`;
    case 'too-large':
      return 'It is too long: a task’s section may have 256 KiB.';
    case 'busy':
      return 'The aggregator has too much to do right now. Try again in a moment.';
    default:
      return sentence(message || 'The aggregator refused without a reason');
  }
}

/** The reason why the figures shown may be old. */
export function problemWords({ code, message }: Problem, server: string): Advice {
  switch (code) {
    case 'no-server':
      return {
        title: 'No answer from the aggregator',
        text: `Nobody answers at ${server}. What is shown is what was known before; this page keeps trying by itself.`,
      };
    case 'unknown-task':
      return { title: 'There is no such task', text: 'The aggregator does not know the task in this address. Choose another one.' };
    case 'bad-answer':
      return { title: 'This page and the aggregator do not match', text: `${sentence(message)} Reload the page to get the newest one.` };
    case 'busy':
      return { title: 'The aggregator has too much to do', text: 'It answers operators later. This page keeps trying by itself.' };
    default:
      return { title: 'Something went wrong', text: `${sentence(message || code)} This page keeps trying by itself.` };
  }
}

/** The reason why the token was refused. */
export function refusedWords({ code, message }: Problem): string {
  switch (code) {
    case 'bad-token':
      return 'This is not a token: it has no letters, or spaces or signs that a token does not have.';
    case 'unauthorized':
      return 'The aggregator does not take this token.';
    case 'no-admin':
      return 'This aggregator takes no operators: set server.admin.token_file in its config and restart it.';
    case 'no-server':
      return 'The aggregator does not answer. Try again in a moment.';
    case 'busy':
      return 'Too many attempts. Wait a little and try again.';
    default:
      return sentence(message || code);
  }
}

/** Seconds in the largest two units. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const units = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ] as const;
  const first = units.findIndex(([, size]) => whole >= size);
  if (first < 0) return '0 s';
  let rest = whole;
  const parts: string[] = [];
  for (const [name, size] of units.slice(first, first + 2)) {
    if (rest >= size) parts.push(`${Math.floor(rest / size)} ${name}`);
    rest %= size;
  }
  return parts.join(' ');
}

/** Seconds with a figure behind the point as long as that matters. */
export function shortSeconds(seconds: number): string {
  return seconds < 60 ? `${+seconds.toFixed(seconds < 10 ? 1 : 0)} s` : duration(seconds);
}

/** A moment in the reader's own time, the same in every country: 2026-03-01 14:05:09. */
export function moment(unixSeconds: number): string {
  const date = new Date(unixSeconds * 1000);
  const two = (value: number) => `${value}`.padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':')}`;
}
