/** Texts of the visitors' page. Pure. */
import type { RoundEvent, StatusReason } from 'fedra';
import { isOver } from './api.js';
import { kindWords } from './kinds.js';
import { isUsedUp } from './privacy.js';
import type { PageState, Problem } from './state.js';
import { takesPart } from './state.js';
import type { DataKind } from './task-data.js';

/** The session's state in a few words. */
export function stateWords(state: PageState): string {
  const { status } = state;
  if (state.stage === 'before') return beforeWords(state);
  if (state.stage === 'ended') return 'Disconnected';
  if (state.stage === 'starting') return downloads(state) ? `Downloading this tab’s ${kindWords(state.kind).own}` : 'Getting ready';
  switch (status?.state) {
    case undefined:
    case 'idle':
      return state.round?.phase === 'finished' ? 'All rounds are done' : 'Getting ready';
    case 'connecting':
      return 'Connecting';
    case 'consent':
      return 'Waiting for your consent';
    case 'waiting':
      if (status.retryInMs !== undefined) return outWords(status.retryInMs, status.reason);
      if (state.round?.phase === 'finished') return 'All rounds are done';
      if (isUsedUp(state)) return 'Your part is done';
      return state.round?.phase === 'paused' ? 'The operator has paused the task' : 'Waiting for the next round';
    case 'unavailable':
      return state.round?.phase === 'finished' ? 'All rounds are done' : 'Sitting out, for the reason below';
    case 'downloading':
      return 'Downloading the shared model';
    case 'training':
      return `Training on this tab’s ${kindWords(state.kind).own}`;
    case 'evaluating':
      return `Testing the shared model on ${kindWords(state.kind).own} that this tab holds out`;
    case 'sharing':
      return 'Exchanging keys with the others';
    case 'uploading':
      return state.privacy?.secureAggregation ? 'Sending the masked change' : 'Sending the change';
    case 'unmasking':
      return 'Opening the sum with the others';
    case 'reported':
      return 'Done; the others are finishing';
    case 'paused':
      return (status.reason && RESTS[status.reason]) ?? 'Paused';
    case 'reconnecting':
      return retryWords(status.retryInMs);
    case 'closed':
      return 'Disconnected';
  }
}

/** True if the tab's examples come from the page, as far as that is known. */
function downloads({ kind, data, own }: PageState): boolean {
  return !own && (kind === 'digits' || (data?.parts.length ?? 0) > 0);
}

function beforeWords({ problem, task, kind }: PageState): string {
  if (problem) return 'Not connected';
  if (kind === 'other') return 'Looking on';
  return task && isOver(task) ? 'This task has finished' : 'Ready when you are';
}

function retryWords(retryInMs: number | undefined): string {
  if (retryInMs === undefined) return 'No connection; trying again';
  return `No connection; trying again in ${seconds(retryInMs)}`;
}

/** Rules by which the tab rests on its own. */
const RESTS: Readonly<Partial<Record<StatusReason, string>>> = {
  battery: 'Resting while the battery is low',
  'save-data': 'Resting, because this device saves data',
  metered: 'Resting on a mobile network',
};

/** Endings of this tab's last invitations, for which the aggregator leaves it out. */
const ENDINGS: Readonly<Partial<Record<StatusReason, string>>> = {
  'missed-deadline': 'this tab was too slow for the last rounds',
  declined: 'this tab could not train in the last rounds',
  rejected: 'the last changes of this tab were refused',
  lost: 'this tab was gone in the last rounds',
};

/** The reason of a wait: this tab's last invitations, or enough other clients. */
function outWords(retryInMs: number, reason: StatusReason | undefined): string {
  if (reason !== undefined) return `Sitting out for ${seconds(retryInMs)}${ENDINGS[reason] ? `: ${ENDINGS[reason]}` : ''}`;
  return `Enough others take part right now; asking again in ${seconds(retryInMs)}`;
}

function seconds(ms: number): string {
  return `${Math.max(1, Math.round(ms / 1000))} s`;
}

/** The round's phase in a few words. */
export function phaseWords(round: RoundEvent | undefined): string {
  switch (round?.phase) {
    case undefined:
      return 'not connected yet';
    case 'selecting':
      return 'gathering tabs';
    case 'collecting':
      return 'clients are training';
    case 'sharing':
      return 'exchanging keys';
    case 'masking':
      return 'masked changes come in';
    case 'unmasking':
      return 'opening only the sum';
    case 'finalizing':
      return 'averaging the changes';
    case 'paused':
      return 'paused by the operator';
    case 'finished':
      return 'all rounds done';
  }
}

/** Counts of the participants, in a sentence. */
export function cohortWords(state: PageState): string {
  const { round, task } = state;
  const own = takesPart(state);
  if (!round)
    return task ? `${count(task.clients_connected, 'client')} connected right now.` : 'Who takes part shows once the aggregator answers.';
  const here = `${count(round.clientsConnected, 'client')} connected`;
  if (round.phase === 'selecting') return `${here}; the next round starts when enough are ready.`;
  if (round.phase === 'paused') return `${here}; the operator has paused the task.`;
  if (round.phase === 'finished') return `${here}; the task has finished.`;
  const others = Math.max(0, round.cohort - (own ? 1 : 0));
  const who = own ? (others === 0 ? 'You alone' : `You and ${count(others, 'other')}`) : `${count(others, 'client')}, without this tab,`;
  const one = !own && others === 1;
  const gone = round.left > 0 ? `, ${round.left} left` : '';
  switch (round.phase) {
    case 'sharing':
      return `${who} ${one ? 'agrees' : 'agree'} on masks that cancel out in the sum${gone}.`;
    case 'masking':
      return `${who} ${one ? 'sends a masked change' : 'send masked changes'}; ${round.reported} of ${round.reportGoal} are in${gone}.`;
    case 'unmasking':
      return `${who} ${one ? 'opens' : 'open'} the sum, which is all the server can read${gone}.`;
    default:
      return `${who} ${one ? 'trains' : 'train'} in this round; ${round.reported} of ${round.reportGoal} reports are in${gone}.`;
  }
}

/** The phases of a round, each in a word. */
const STEPS = {
  selecting: 'Gather',
  collecting: 'Train',
  sharing: 'Keys',
  masking: 'Masks',
  unmasking: 'Unmask',
  finalizing: 'Average',
} as const;
const MASKED: readonly (keyof typeof STEPS)[] = ['sharing', 'masking', 'unmasking'];

export interface Step {
  readonly name: string;
  readonly when: 'done' | 'now' | 'later';
}

/** The steps of a round, each done, under way or to come. */
export function roundSteps(round: { readonly phase: string } | undefined, sumsOnly: boolean): readonly Step[] {
  const phases = (Object.keys(STEPS) as (keyof typeof STEPS)[]).filter((phase) => sumsOnly || !MASKED.includes(phase));
  const at = round?.phase === 'finished' ? phases.length : phases.findIndex((phase) => phase === round?.phase);
  return phases.map((phase, index) => ({ name: STEPS[phase], when: index < at ? 'done' : index === at ? 'now' : 'later' }));
}

export interface Advice {
  readonly title: string;
  readonly text: string;
}

/** An error as a title and advice. */
export function advice({ code, message, fatal }: Problem, url: string, kind?: DataKind): Advice {
  const server = address(url);
  const { own, use } = kindWords(kind);
  switch (code) {
    case 'no-server':
      return {
        title: 'No answer from the aggregator',
        text: `Nobody answers at ${server}. Check that the aggregator runs there and that you are online; this page keeps trying by itself.`,
      };
    case 'task-finished':
      return {
        title: 'This task has finished',
        text: `It takes no more updates, and its model is there for you: ${use}. To train again, ask whoever runs the aggregator for another task.`,
      };
    case 'refused-unknown-task':
    case 'unknown-task':
      return {
        title: 'There is no such task',
        text: `The aggregator at ${server} does not know this task. Leave ?task= out of the address to take its first one.`,
      };
    case 'no-task':
      return {
        title: 'There is nothing to train yet',
        text: `The aggregator at ${server} has no task. Whoever runs it adds one to its configuration; this page keeps looking.`,
      };
    case 'refused-overloaded':
      return {
        title: 'The aggregator is full',
        text: 'It takes no more clients right now. Leave this page open: it tries again by itself.',
      };
    case 'refused-timeout':
      return {
        title: 'The connection is too slow',
        text: `${sentence(message)} Leave this page open: it tries again by itself. If that goes on, a faster network helps.`,
      };
    case 'refused-not-selected':
      return {
        title: 'Enough others take part right now',
        text: 'Leave this page open: it asks again by itself, and takes part in a later round.',
      };
    case 'refused-unauthorized':
      return {
        title: 'This task is not open to everybody',
        text: `${sentence(message)} Whoever runs the site that you came from decides who may take part; sign in there again, and come back.`,
      };
    case 'token-failed':
      return {
        title: 'This page could not sign you in',
        text: `${sentence(message)} Check that you are online and signed in; this page keeps trying by itself.`,
      };
    case 'refused-shutting-down':
      return {
        title: 'The aggregator starts again',
        text: 'Leave this page open: what this tab has trained is kept, and it goes on when the aggregator is back.',
      };
    case 'refused-replaced':
      return {
        title: 'Another tab has taken over',
        text: 'This browser takes part once. Go on in the other tab, or close it and start again here.',
      };
    case 'refused-unsupported-version':
      return {
        title: 'This page and the aggregator do not match',
        text: 'They speak different versions. Reload the page to get the newest one.',
      };
    case 'privacy-refused':
      return {
        title: 'This task protects too little',
        text: `${sentence(message)} Nothing of your training was sent. Choose another task, or ask whoever runs the aggregator to raise its protection.`,
      };
    case 'privacy-declined':
      return {
        title: 'You did not take part',
        text: 'Nothing of your training was sent. If you change your mind, start again; you will be asked again.',
      };
    case 'consent-revoked':
      return {
        title: 'You have withdrawn your consent',
        text: 'This browser takes no further part. If you change your mind, start again; you will be asked again.',
      };
    case 'consent-failed':
      return {
        title: 'You could not be asked',
        text: `${sentence(message)} Nothing of your training was sent. Start again to be asked again.`,
      };
    case 'secure-aggregation-failed':
      return {
        title: 'This tab left a round',
        text: `${sentence(message)} Nothing that could be read was sent. It takes part in the next round.`,
      };
    case 'privacy-failed':
      return {
        title: 'This tab left a round',
        text: `${sentence(message)} What cannot be protected is not sent. It takes part in the next round.`,
      };
    case 'privacy-exhausted':
      return {
        title: 'Your part in this task is done',
        text: `This browser took part as often as the task allows, and sends no further change. The shared model goes on without it: ${use}.`,
      };
    case 'budget-spent':
      return {
        title: 'This task has spent its privacy budget',
        text: 'One more round could cost somebody more than was promised, so there is none. The model stays as it is; its results stay below.',
      };
    case 'no-webgpu':
      return {
        title: 'Training without WebGPU',
        text: `${sentence(message)} You need not do anything. A current Chrome, Edge, Firefox or Safari with hardware acceleration switched on may offer WebGPU.`,
      };
    case 'bad-model':
      return {
        title: 'This page cannot read the shared model',
        text: `${sentence(message)} Reload the page to get the newest one, and ask again.`,
      };
    case 'out-of-memory':
    case 'prediction-failed':
      return { title: 'The model did not answer', text: `${sentence(message)} Close other tabs, and ask again.` };
    case 'device-lost':
      return { title: 'The GPU went away', text: `${sentence(message)} This tab goes on by itself.` };
    case 'step-unusable':
      return { title: 'A longer download', text: `${sentence(message)} This tab goes on by itself.` };
    case 'bad-dataset':
      return {
        title: `These ${own} do not fit the task`,
        text: `${sentence(message)} Nothing was sent. Give others, or choose another task.`,
      };
    case 'no-digits':
      return {
        title: `This tab has no ${own} to train on`,
        text: `${sentence(message)} Whoever runs this page makes the files with “cargo xtask dist”; a wrong ?shard= in the address does this too.`,
      };
    case 'bad-options':
    case 'invalid-options':
      return { title: 'The page’s address has a mistake', text: `${sentence(message)} Correct it and load the page again.` };
    case 'wasm-hash-mismatch':
    case 'wasm-load-failed':
      return {
        title: 'The training module did not load',
        text: `${sentence(message)} Check your connection and reload; the browser must allow WebAssembly.`,
      };
    case 'blocked-by-policy':
      return {
        title: 'This page may not reach the aggregator',
        text: `${sentence(message)} Whoever runs this page adds it to its content security policy; leave ?url= out of the address to take the page’s own aggregator.`,
      };
    case 'unsupported-task':
    case 'refused-unsupported-client':
      return {
        title: 'This page is too old for this task',
        text: `${sentence(message)} Reload the page to get the newest one. If that does not help, whoever runs the aggregator updates the page.`,
      };
    case 'model-unavailable':
      return {
        title: 'The shared model did not arrive',
        text: `${sentence(message)} This tab goes on with the next model; leave it open.`,
      };
    case 'training-diverged':
      return {
        title: 'Training went astray',
        text: `${sentence(message)} This tab sends nothing and waits for another model. Whoever runs the task can give it a smaller learning rate.`,
      };
    case 'out-of-range':
      return {
        title: 'This tab’s change is too large',
        text: `${sentence(message)} This tab waits for another model. Whoever runs the task can give it a smaller learning rate or a larger update range.`,
      };
    case 'training-failed':
      return {
        title: 'Training failed in this tab',
        text: `${sentence(message)} Reload the page; with ?backend=cpu in the address it trains on the CPU.`,
      };
    case 'worker-failed':
      return fatal
        ? { title: 'Training stopped in this tab', text: `${sentence(message)} Start again, or reload the page.` }
        : { title: 'The training module was started again', text: `${sentence(message)} This tab goes on by itself.` };
    case 'participation-not-kept':
      return {
        title: 'This tab left a round',
        text: `${sentence(message)} A round that cannot be counted is not taken part in: nothing was sent. Allow this site to store data, or make room; this page keeps trying by itself.`,
      };
    case 'no-storage':
      return { title: 'This browser stores nothing for this page', text: sentence(message) };
    case 'storage-full':
      return { title: 'The files are not kept', text: sentence(message) };
    case 'nothing-kept':
    case 'nothing-to-keep':
      return { title: 'There are no files to keep', text: `${sentence(message)} Choose them again.` };
    case 'no-randomness':
      return {
        title: 'This tab left a round',
        text: `${sentence(message)} Without random numbers nothing can be protected, so nothing was sent. Another browser may help.`,
      };
    case 'model-unreadable':
      return {
        title: 'This page cannot read the shared model',
        text: `${sentence(message)} This tab waits for another model. Reload the page to get the newest version of it.`,
      };
    case 'update-rejected':
      return {
        title: 'The change of this tab was refused',
        text: `${sentence(message)} It takes part in a later round. Reload the page if that goes on.`,
      };
    case 'refused-malformed-message':
    case 'refused-unexpected-message':
    case 'refused-message-too-large':
      return {
        title: 'This page and the aggregator do not match',
        text: `${sentence(message)} Reload the page to get the newest one.`,
      };
    case 'not-in-a-browser':
    case 'other-tab':
    case 'aborted':
    case 'closed':
    case 'timeout':
    case 'no-model':
    case 'bad-features':
    case 'bad-input':
    case 'bench-failed':
    case 'bad-answer':
    case 'unexpected':
      return unexplained(code, message);
    default:
      return unexplained(code satisfies never, message);
  }
}

function unexplained(code: string, message: string): Advice {
  return { title: 'Something went wrong', text: `${sentence(message)} (${code}) Reload the page if it does not go on by itself.` };
}

/** A share in per cent: 0.9634 as “96.3 %”. */
export function percent(share: number, digits = 1): string {
  return `${(share * 100).toFixed(digits)} %`;
}

/** Bytes in decimal units. */
export function bytes(amount: number): string {
  if (amount < 1000) return `${amount} B`;
  if (amount < 1e6) return `${(amount / 1e3).toFixed(amount < 1e4 ? 1 : 0)} kB`;
  if (amount < 1e9) return `${(amount / 1e6).toFixed(1)} MB`;
  return `${(amount / 1e9).toFixed(2)} GB`;
}

/** A whole number with thin spaces between thousands. */
export function whole(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

function count(amount: number, noun: string): string {
  return `${whole(amount)} ${noun}${amount === 1 ? '' : 's'}`;
}

function address(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}

/** Text as a sentence: a capital at the start, but for an address, and a full stop at the end. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const first = /^\w+:\/\//.test(trimmed) ? trimmed : trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?:]$/.test(first) ? first : `${first}.`;
}
