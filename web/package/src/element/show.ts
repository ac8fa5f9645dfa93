/** State of the element as text in its view. It must not act on a client. */
import type { PrivacyEvent, ProgressEvent, StatusEvent } from '../events.js';
import type { Sent } from '../sent.js';
import { bytesIn, epsilonIn, limitIn, timeIn } from './figures.js';
import type { TrainerStrings } from './strings.js';
import { filled } from './strings.js';
import type { View } from './view.js';
import { make, write } from './view.js';

/** Stage of a visit. */
export type Stage =
  /** The person has not said that they want to take part. */
  | 'invited'
  /** The client starts. */
  | 'starting'
  /** The person is asked for consent. */
  | 'asking'
  /** The client runs. */
  | 'running';

/** State of the element that is shown. */
export interface Shown {
  readonly stage: Stage;
  readonly consent: { readonly text: string; readonly version: string };
  readonly status: StatusEvent | undefined;
  readonly progress: ProgressEvent | undefined;
  readonly privacy: PrivacyEvent | undefined;
  readonly leads: boolean;
  readonly isPaused: boolean;
  readonly hasData: boolean;
  /** Something that the person should know. */
  readonly problem: string;
  /** The same where it is no fault. */
  readonly notice: string;
}

const QUIET: readonly string[] = ['idle', 'connecting', 'consent', 'unavailable', 'paused', 'reconnecting', 'closed'];

/** Writes everything that has changed. */
export function show(view: View, shown: Shown, strings: TrainerStrings, language: string): void {
  const { stage, status, progress, privacy, leads } = shown;
  const isRunning = stage === 'running';
  view.invitation.hidden = stage !== 'invited';
  view.consent.hidden = stage !== 'asking';
  view.running.hidden = !isRunning;
  view.privacy.hidden = !privacy || stage === 'asking';
  write(view.title, strings.title);
  write(view.status, statusWords(shown, strings));
  view.status.hidden = view.status.textContent === '';
  view.status.toggleAttribute('data-active', isRunning && status !== undefined && !QUIET.includes(status.state));
  write(view.problem, shown.problem);
  view.problem.hidden = shown.problem === '';
  write(view.invitationText, strings.invitation);
  write(view.takePart, shown.problem || shown.notice ? strings.again : strings.takePart);
  showQuestion(view, shown, strings, language);
  const trains = isRunning && status?.state === 'training' && progress !== undefined && progress.round === status.round;
  view.progress.hidden = status?.state === 'paused' || (!leads && !trains);
  view.progress.toggleAttribute('data-idle', !trains);
  if (trains) {
    view.progress.max = progress.steps;
    view.progress.value = progress.step;
    view.progress.setAttribute('aria-label', filled(strings.progress, { step: progress.step, steps: progress.steps }));
  }
  write(view.otherTab, strings.otherTab);
  view.otherTab.hidden = leads;
  write(view.pause, shown.isPaused ? strings.resume : strings.pause);
  write(view.withdraw, strings.withdraw);
  write(view.privacyTitle, strings.privacyTitle);
  if (privacy) {
    write(view.policy, strings.policies[privacy.policy]);
    list(view.costs, costWords(privacy, strings, language));
  }
}

/** The state in a line. */
export function statusWords({ stage, status, hasData, notice }: Shown, strings: TrainerStrings): string {
  if (stage === 'invited') return notice;
  if (stage === 'asking') return strings.states.consent;
  if (notice) return notice;
  if (stage === 'starting' || !status) return strings.starting;
  if (!hasData && (status.state === 'idle' || status.state === 'waiting')) return strings.noData;
  const words = (status.state === 'paused' && status.reason && strings.reasons[status.reason]) || strings.states[status.state];
  return status.round === undefined ? words : `${words} · ${filled(strings.round, { round: status.round })}`;
}

function showQuestion(view: View, { consent, privacy }: Shown, strings: TrainerStrings, language: string): void {
  write(view.askTitle, strings.askTitle);
  write(view.consentText, consent.text);
  write(view.consentVersion, filled(strings.version, { version: consent.version }));
  write(view.agree, strings.agree);
  write(view.decline, strings.decline);
  if (!privacy) return;
  write(view.consentPolicy, strings.policies[privacy.policy]);
  list(view.consentCosts, costWords(privacy, strings, language));
}

function costWords(privacy: PrivacyEvent, strings: TrainerStrings, language: string): string[] {
  const { policy, roundEpsilon, spentEpsilon, budgetEpsilon, participations, maxParticipations } = privacy;
  if (policy === 'none') return [];
  const spent = epsilonIn(language, spentEpsilon);
  const words = [
    budgetEpsilon === null
      ? filled(strings.spent, { spent })
      : filled(strings.spentOf, { spent, budget: limitIn(language, budgetEpsilon) }),
  ];
  if (roundEpsilon !== null) words.push(filled(strings.roundCost, { cost: epsilonIn(language, roundEpsilon) }));
  words.push(
    maxParticipations === null
      ? filled(strings.rounds, { rounds: participations })
      : filled(strings.roundsOf, { rounds: participations, most: maxParticipations }),
  );
  return words;
}

/** Writes the log of what left the device. */
export function showSent(view: View, sent: Sent | undefined, strings: TrainerStrings, language: string): void {
  write(view.sentTitle, strings.sentTitle);
  write(view.save, strings.save);
  view.sent.hidden = sent === undefined;
  if (!sent) return;
  const { rounds, earlier } = sent;
  const bytes = rounds.reduce((sum, round) => sum + round.bytes, earlier.bytes);
  const count = rounds.length + earlier.rounds;
  const total = filled(strings.sentTotal, { bytes: bytesIn(language, bytes), rounds: count });
  write(view.sentTotal, count === 0 ? strings.sentNothing : total);
  view.table.hidden = count === 0;
  view.save.hidden = count === 0;
  const names = [strings.sentRound, strings.sentAt, strings.sentBytes, strings.sentCost, strings.sentFate];
  view.head.replaceChildren(...names.map((name) => make('th', { scope: 'col' }, name)));
  const newest = [...rounds].reverse();
  view.rows.replaceChildren(
    ...newest.map(({ round, at, bytes, policy, spentEpsilon, outcome }) => {
      const cost = policy === 'none' ? '–' : epsilonIn(language, spentEpsilon);
      const cells = [String(round), timeIn(language, at), bytesIn(language, bytes), cost, strings.outcomes[outcome ?? 'sent']];
      return make('tr', {}, ...cells.map((cell) => make('td', {}, cell)));
    }),
  );
}

function list(element: HTMLElement, lines: readonly string[]): void {
  const before = [...element.children].map(({ textContent }) => textContent);
  element.hidden = lines.length === 0;
  if (before.join('\n') !== lines.join('\n')) element.replaceChildren(...lines.map((line) => make('li', {}, line)));
}
