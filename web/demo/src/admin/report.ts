/** Reports of the aggregator on its tasks and itself, read from JSON. Pure. */

import type { HistoryPoint, TaskInfo } from '../api.js';
import { parseTask } from '../api.js';
import { badAnswer, isRecord, list, number, optional, record, text, word } from '../json.js';

export const PHASES = ['selecting', 'collecting', 'sharing', 'masking', 'unmasking', 'finalizing', 'finished', 'paused'] as const;
export type Phase = (typeof PHASES)[number];

const STANDINGS = ['running', 'paused', 'stopped'] as const;
/** A task's standing, as set by operators. */
export type Standing = (typeof STANDINGS)[number];

/** One completed round. */
export interface RoundReport extends HistoryPoint {
  /** Accepted updates. */
  readonly reports: number;
  /** Time from the invitation to the last update. */
  readonly seconds: number;
  /** Bytes from and to clients since the round before. */
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** Counts of the clients in the round under way. */
export interface Cohort {
  readonly invited: number;
  readonly reported: number;
  /** Invited clients that left, declined or were refused. */
  readonly left: number;
  readonly reportGoal: number;
}

/** Use of a privacy budget, in addition to the figures of {@link TaskInfo}. */
export interface Spending {
  readonly debits: number;
  readonly subjects: number;
  readonly countsSubjects: boolean;
}

const HEALTH_STATES = ['ok', 'waiting', 'failing'] as const;

/** Invitations that came to nothing in one way. */
export interface Failures {
  readonly count: number;
  /** A phrase, without a capital and a full stop. */
  readonly text: string;
}

/** Health of a task: `ok` if it makes rounds, otherwise with the reason. */
export interface Health {
  readonly state: (typeof HEALTH_STATES)[number];
  /** A sentence without a capital and a full stop, where there is something to say. */
  readonly reason: string | undefined;
  readonly sinceUnixSeconds: number;
  /** Attempts in a row that came to nothing, while the task is failing. */
  readonly attempts: number;
  /** Failures since the server started, the most frequent first. */
  readonly failures: readonly Failures[];
}

/** The public report of a task: `GET /v1/tasks/{id}`. */
export interface TaskReport extends TaskInfo {
  readonly health: Health;
  readonly phase: Phase;
  /** The attempt at the round under way; 0 is the first. */
  readonly attempt: number;
  /** Time to the phase's deadline, where it has one. */
  readonly secondsLeft: number | undefined;
  readonly cohort: Cohort;
  readonly modelBytes: number;
  readonly spending: Spending | null;
  readonly history: readonly RoundReport[];
  /** The evaluated model before the first round. */
  readonly initial: HistoryPoint | undefined;
}

export interface Decision {
  readonly unixSeconds: number;
  readonly action: string;
  /** The round whose model a roll-back restored. `round` is the one that has it now. */
  readonly to: number | undefined;
  readonly round: number | undefined;
}

/** The cohort of a completed round. */
export interface PastCohort {
  readonly round: number;
  /** 0 is the first. */
  readonly attempt: number;
  readonly invited: number;
  /** The round whose model it restored, if it was a roll-back. */
  readonly restored: number | undefined;
}

/** The operator's report of a task: `GET /v1/admin/tasks/{id}`. */
export interface OperatedTask extends TaskReport {
  readonly standing: Standing;
  /** Rounds whose model is kept. */
  readonly checkpoints: readonly number[];
  readonly decisions: readonly Decision[];
  /** The newest cohorts by round. */
  readonly cohorts: ReadonlyMap<number, PastCohort>;
  /** A few lines for a person. */
  readonly config: string;
}

/** A task in the list of `GET /v1/admin/status`. */
export interface TaskStatus {
  readonly id: string;
  readonly standing: Standing;
  readonly health: Health;
  readonly phase: Phase;
  /** Completed rounds. */
  readonly round: number;
  readonly clients: number;
  readonly cohort: number;
  readonly reported: number;
  readonly left: number;
}

/** The report on the server: `GET /v1/admin/status`. */
export interface ServerStatus {
  readonly version: string;
  /** True while the server stops. */
  readonly draining: boolean;
  readonly uptimeSeconds: number;
  /** Memory of the process, where the platform reports it. */
  readonly memoryBytes: number | undefined;
  readonly connections: number;
  /** Clients that are checked in. */
  readonly sessions: number;
  /** Bytes of updates in flight. `uploadBudget` is their limit. */
  readonly uploadBytes: number;
  readonly uploadBudget: number;
  readonly tasks: readonly TaskStatus[];
  /** Tasks that could not start. */
  readonly setAside: readonly SetAsideTask[];
}

/** A task that could not start, and why. */
export interface SetAsideTask {
  readonly id: string;
  readonly reason: string;
}

/** A mistake in a task's config: where, and what to do about it. */
export interface Mistake {
  readonly path: string;
  readonly problem: string;
}

export function parseReport(answer: unknown): TaskReport {
  const task = record(answer);
  const { history, ...info } = parseTask(task);
  const rounds = list(task['history'], 'history').map(roundReport);
  const model = record(task['model']);
  return {
    ...info,
    health: health(task['health']),
    phase: word(task['phase'], PHASES, 'phase'),
    attempt: number(task['attempt'], 'attempt'),
    secondsLeft: optional(task['seconds_left']),
    cohort: cohort(task['cohort']),
    modelBytes: number(model['bytes'], 'model.bytes'),
    spending: spending(task['privacy']),
    history: rounds,
    initial: rounds.length === 0 ? history[0] : undefined,
  };
}

function health(value: unknown): Health {
  const told = record(value);
  const since = Date.parse(text(told['since'], 'health.since'));
  if (Number.isNaN(since)) throw badAnswer('a time for health.since');
  return {
    state: word(told['state'], HEALTH_STATES, 'health.state'),
    reason: told['reason'] == null ? undefined : text(told['reason'], 'health.reason'),
    sinceUnixSeconds: since / 1000,
    attempts: number(told['attempts'], 'health.attempts'),
    failures: list(told['failures'], 'health.failures').map(failures),
  };
}

function failures(entry: unknown): Failures {
  const failed = record(entry);
  return { count: number(failed['count'], 'failures.count'), text: text(failed['text'], 'failures.text') };
}

function roundReport(entry: unknown): RoundReport {
  const round = record(entry);
  return {
    round: number(round['round'], 'round'),
    accuracy: optional(round['accuracy']) ?? null,
    loss: optional(round['loss']) ?? null,
    reports: number(round['reports'], 'reports'),
    seconds: number(round['seconds'], 'seconds'),
    bytesUp: number(round['bytes_up'], 'bytes_up'),
    bytesDown: number(round['bytes_down'], 'bytes_down'),
  };
}

function cohort(value: unknown): Cohort {
  const numbers = record(value);
  return {
    invited: number(numbers['invited'], 'cohort.invited'),
    reported: number(numbers['reported'], 'cohort.reported'),
    left: number(numbers['left'], 'cohort.left'),
    reportGoal: number(numbers['report_goal'], 'cohort.report_goal'),
  };
}

function spending(value: unknown): Spending | null {
  if (value == null) return null;
  const privacy = record(value);
  return {
    debits: number(privacy['debits'], 'privacy.debits'),
    subjects: number(privacy['subjects'], 'privacy.subjects'),
    countsSubjects: privacy['counts_subjects'] === true,
  };
}

export function parseOperated(answer: unknown): OperatedTask {
  const task = record(answer);
  return {
    ...parseReport(task),
    standing: parseStanding(task),
    checkpoints: list(task['checkpoints'], 'checkpoints').map((round) => number(round, 'checkpoints')),
    decisions: list(task['decisions'], 'decisions').map(decision),
    cohorts: new Map(
      list(task['rounds'], 'rounds')
        .map(pastCohort)
        .map((past) => [past.round, past]),
    ),
    config: text(task['config'], 'config'),
  };
}

export function parseStanding(answer: unknown): Standing {
  return word(record(answer)['standing'], STANDINGS, 'standing');
}

function decision(entry: unknown): Decision {
  const made = record(entry);
  return {
    unixSeconds: number(made['unix_seconds'], 'unix_seconds'),
    action: text(made['action'], 'action'),
    to: optional(made['to']),
    round: optional(made['round']),
  };
}

function pastCohort(entry: unknown): PastCohort {
  const past = record(entry);
  return {
    round: number(past['round'], 'rounds.round'),
    attempt: number(past['attempt'], 'rounds.attempt'),
    invited: number(past['cohort'], 'rounds.cohort'),
    restored: optional(past['restored']),
  };
}

export function parseStatus(answer: unknown): ServerStatus {
  const status = record(answer);
  return {
    version: text(status['version'], 'version'),
    draining: status['draining'] === true,
    uptimeSeconds: number(status['uptime_seconds'], 'uptime_seconds'),
    memoryBytes: optional(status['memory_bytes']),
    connections: number(status['connections'], 'connections'),
    sessions: number(status['sessions'], 'sessions'),
    uploadBytes: number(status['upload_bytes_in_flight'], 'upload_bytes_in_flight'),
    uploadBudget: number(status['upload_budget_bytes'], 'upload_budget_bytes'),
    tasks: list(status['tasks'], 'tasks').map(taskStatus),
    setAside: list(status['set_aside'], 'set_aside').map(setAsideTask),
  };
}

function setAsideTask(entry: unknown): SetAsideTask {
  const task = record(entry);
  return { id: text(task['id'], 'set_aside.id'), reason: text(task['reason'], 'set_aside.reason') };
}

function taskStatus(entry: unknown): TaskStatus {
  const task = record(entry);
  const count = (name: string) => number(task[name], `tasks.${name}`);
  return {
    id: text(task['id'], 'tasks.id'),
    standing: parseStanding(task),
    health: health(task['health']),
    phase: word(task['phase'], PHASES, 'phase'),
    round: count('completed'),
    clients: count('clients'),
    cohort: count('cohort'),
    reported: count('reported'),
    left: count('left'),
  };
}

/** The mistakes in a problem body; none where it has no list of them. */
export function parseMistakes(problem: unknown): readonly Mistake[] {
  if (!isRecord(problem) || !Array.isArray(problem['mistakes'])) return [];
  return problem['mistakes'].map((entry) => {
    const mistake = record(entry);
    return { path: text(mistake['path'], 'path'), problem: text(mistake['problem'], 'problem') };
  });
}

/** The name of the task that was made. */
export function parseCreated(answer: unknown): string {
  return text(record(answer)['id'], 'id');
}

/** The round that a roll-back made. */
export function parseRolledBack(answer: unknown): number {
  const round = number(record(answer)['round'], 'round');
  if (!Number.isSafeInteger(round)) throw badAnswer('a whole number for round');
  return round;
}
