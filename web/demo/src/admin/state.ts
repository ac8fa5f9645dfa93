/** State of the operator's page, and its changes by answers. Pure. */
import type { Mistake, OperatedTask, OperatorAction, Round, ServerStatus, Task, TaskSummary } from '../generated/http-api.js';
import { ApiError } from '../json.js';
import { Refusal } from './api.js';

/** The view that is open: a task (without a name the first), the server, or the form for a new task. */
export type View = { readonly name: 'task'; readonly id: string | undefined } | { readonly name: 'server' } | { readonly name: 'new' };

export type Action = OperatorAction | 'export';

/** A task in view. Its rounds and classes come later than the list. */
export type Shown = TaskSummary & { readonly history?: Task['history']; readonly classes?: Task['classes'] };

/** Something that went wrong. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly mistakes: readonly Mistake[];
}

export interface DeskState {
  readonly view: View;
  readonly access: 'visitor' | 'checking' | 'operator';
  /** Undefined until the server has answered. */
  readonly tasks: readonly TaskSummary[] | undefined;
  /** The task in view. */
  readonly task: Shown | undefined;
  /** The same with the parts that only operators see. */
  readonly operated: OperatedTask | undefined;
  readonly status: ServerStatus | undefined;
  /** The reason why the figures shown may be old. */
  readonly problem: Problem | undefined;
  /** The reason why the operator is not, or no longer, signed in. */
  readonly refused: Problem | undefined;
  /** The order under way, other than an export. */
  readonly busy: Action | undefined;
  /** True while a model is downloaded. Other orders are possible meanwhile. */
  readonly exporting: boolean;
  readonly failure: (Problem & { readonly action: Action }) | undefined;
  readonly notice: string | undefined;
}

export const INITIAL: DeskState = {
  view: { name: 'task', id: undefined },
  access: 'visitor',
  tasks: undefined,
  task: undefined,
  operated: undefined,
  status: undefined,
  problem: undefined,
  refused: undefined,
  busy: undefined,
  exporting: false,
  failure: undefined,
  notice: undefined,
};

/** Answers to one look at the server. An absent one was not asked for. */
export interface Seen {
  readonly task?: Task;
  readonly operated?: OperatedTask;
  readonly status?: ServerStatus;
}

export function withList(state: DeskState, tasks: readonly TaskSummary[]): DeskState {
  return { ...state, tasks };
}

export function withSeen(state: DeskState, seen: Seen): DeskState {
  const operated = seen.operated && steady(seen.operated, state.task);
  const task = operated ?? (seen.task && steady(seen.task, state.task));
  return {
    ...state,
    task: task ?? state.task,
    operated: operated ?? (task ? undefined : state.operated),
    status: seen.status ?? state.status,
    problem: undefined,
  };
}

/** Keeps the old history if nothing in it has changed, so that charts are not drawn again. */
function steady<Known extends Task>(task: Known, before: Shown | undefined): Known {
  if (before?.id !== task.id || !before.history || !sameRounds(before.history, task.history)) return task;
  return { ...task, history: before.history };
}

function sameRounds(before: readonly Round[], now: readonly Round[]): boolean {
  const same = (a: Round, b: Round | undefined) => a.round === b?.round && a.accuracy === b.accuracy && a.loss === b.loss;
  return before.length === now.length && before.every((round, index) => same(round, now[index]));
}

/** The state with another view, without the messages of the last one. */
export function withView(state: DeskState, view: View): DeskState {
  const id = view.name === 'task' ? (view.id ?? state.tasks?.[0]?.id) : undefined;
  const stays = id !== undefined && state.task?.id === id;
  return {
    ...state,
    view,
    task: stays ? state.task : state.tasks?.find((task) => task.id === id),
    operated: stays ? state.operated : undefined,
    problem: state.problem?.code === 'unknown-task' ? undefined : state.problem,
    failure: undefined,
    notice: undefined,
  };
}

/** The state without the parts that only operators see. */
export function withoutAccess(state: DeskState, refused: Problem | undefined): DeskState {
  return {
    ...state,
    access: 'visitor',
    operated: undefined,
    status: undefined,
    busy: undefined,
    exporting: false,
    failure: undefined,
    notice: undefined,
    refused,
  };
}

/** True while an order of its kind is under way: one order at a time, and one download beside it. */
export function hasToWait({ busy, exporting }: DeskState, action: Action): boolean {
  return action === 'export' ? exporting : busy !== undefined;
}

export function withUnderWay(state: DeskState, action: Action, underWay: boolean): DeskState {
  return action === 'export' ? { ...state, exporting: underWay } : { ...state, busy: underWay ? action : undefined };
}

export function problemOf(error: unknown): Problem {
  if (error instanceof Refusal) return { code: error.code, message: error.message, mistakes: error.mistakes };
  const message = error instanceof Error ? error.message : String(error);
  return { code: error instanceof ApiError ? error.code : 'unexpected', message, mistakes: [] };
}

/** Parses `#/tasks/{id}`, `#/server` and `#/new`; anything else is the first task. */
export function viewOf(hash: string): View {
  const [, name, id] = hash.split('/');
  if (name === 'server' || name === 'new') return { name };
  if (name !== 'tasks' || !id) return { name: 'task', id: undefined };
  try {
    return { name: 'task', id: decodeURIComponent(id) };
  } catch {
    return { name: 'task', id };
  }
}

export function hashOf(task: string): string {
  return `#/tasks/${encodeURIComponent(task)}`;
}

/** Standing and health in one. `finished`: after the last round, or the budget. `waiting`, `failing`: the task runs and makes no rounds. */
export type Stand = TaskSummary['state'] | 'pausing' | 'waiting' | 'failing';

export function standOf({ state, phase, health }: Pick<TaskSummary, 'state' | 'phase' | 'health'>): Stand {
  if (state === 'stopped' || state === 'finished') return state;
  // A server that stops pauses its tasks by itself.
  if (phase === 'paused') return 'paused';
  if (state === 'paused') return 'pausing';
  return health.state === 'ok' ? 'running' : health.state;
}

/** A task in the list at the side. */
export interface Entry {
  readonly id: string;
  readonly title: string;
  readonly stand: Stand;
  readonly round: number;
}

/** All tasks, each from its newest answer. */
export function entries({ tasks, task }: DeskState): readonly Entry[] {
  return (tasks ?? []).map((listed) => {
    const { id, title, round, ...known } = listed.id === task?.id ? task : listed;
    return { id, title, stand: standOf(known), round };
  });
}

/** Orders that the task takes now. */
export function possible(operated: OperatedTask): readonly Action[] {
  const stand = standOf(operated);
  const always: readonly Action[] = ['export'];
  if (stand === 'stopped' || stand === 'finished') return always;
  return [operated.state === 'paused' ? 'resume' : 'pause', 'roll-back', ...always, 'stop'];
}

/** Kept rounds before the current one, newest first: targets of a roll-back. */
export function earlier({ checkpoints, round }: Pick<OperatedTask, 'checkpoints' | 'round'>): readonly number[] {
  return checkpoints.filter((kept) => kept < round).sort((a, b) => b - a);
}
