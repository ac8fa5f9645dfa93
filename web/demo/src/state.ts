/**
 * What the page knows, and how events change it. Pure: the session feeds it,
 * the components draw it.
 */
import type {
  BackendEvent,
  ClientEvent,
  ModelEvent,
  ProgressEvent,
  RoundEvent,
  StatusEvent,
  TrafficEvent,
  UpdateEvent,
} from 'fedra';
import type { HistoryPoint, TaskInfo } from './api.js';

/** Where the visitor stands. */
export type Stage = 'before' | 'starting' | 'running' | 'ended';

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly fatal: boolean;
}

export interface PageState {
  readonly stage: Stage;
  readonly paused: boolean;
  /** Examples this tab holds, and the shard they are of. */
  readonly examples: number;
  readonly shard: number | undefined;
  readonly task: TaskInfo | undefined;
  readonly status: StatusEvent | undefined;
  readonly backend: BackendEvent | undefined;
  readonly round: RoundEvent | undefined;
  readonly progress: ProgressEvent | undefined;
  readonly model: ModelEvent | undefined;
  readonly traffic: TrafficEvent | undefined;
  readonly lastUpdate: UpdateEvent | undefined;
  readonly accepted: number;
  readonly history: readonly HistoryPoint[];
  readonly problem: Problem | undefined;
  /** WebGPU was asked for and is not there, or was lost. Not in the way. */
  readonly notice: Problem | undefined;
}

export const INITIAL: PageState = {
  stage: 'before',
  paused: false,
  examples: 0,
  shard: undefined,
  task: undefined,
  status: undefined,
  backend: undefined,
  round: undefined,
  progress: undefined,
  model: undefined,
  traffic: undefined,
  lastUpdate: undefined,
  accepted: 0,
  history: [],
  problem: undefined,
  notice: undefined,
};

/** Errors after which training goes on just the same. */
const NOTICES: readonly string[] = ['no-webgpu', 'device-lost'];
/** States that show that the connection works. */
const HEALTHY: readonly string[] = ['waiting', 'downloading', 'training', 'uploading', 'reported', 'paused'];

/** The state after an event of the client. */
export function withEvent(state: PageState, event: ClientEvent): PageState {
  switch (event.type) {
    case 'status':
      return withStatus(state, event);
    case 'backend':
      return { ...state, backend: event };
    case 'task':
      return state;
    case 'round':
      return { ...state, round: event };
    case 'progress':
      return { ...state, progress: event };
    case 'traffic':
      return { ...state, traffic: event };
    case 'update':
      return {
        ...state,
        lastUpdate: event,
        accepted: state.accepted + (event.outcome === 'accepted' ? 1 : 0),
      };
    case 'model':
      return { ...state, model: event, history: withEvaluation(state.history, event) };
    case 'error':
      if (NOTICES.includes(event.code)) return { ...state, notice: event };
      return { ...state, problem: event, stage: event.fatal ? 'ended' : state.stage };
  }
}

function withStatus(state: PageState, status: StatusEvent): PageState {
  const problem = HEALTHY.includes(status.state) ? undefined : state.problem;
  const progress = status.state === 'training' ? state.progress : undefined;
  const stage = status.state === 'closed' ? 'ended' : state.stage;
  return { ...state, status, problem, progress, stage };
}

/** The state after `GET /v1/tasks/{id}`. */
export function withTask(state: PageState, task: TaskInfo): PageState {
  return {
    ...state,
    task,
    history: merged(state.history, task.history),
    problem: state.stage === 'before' ? undefined : state.problem,
  };
}

function withEvaluation(history: readonly HistoryPoint[], model: ModelEvent): readonly HistoryPoint[] {
  const { evaluatedRound: round, accuracy = null, loss = null } = model;
  return round === undefined ? history : merged(history, [{ round, accuracy, loss }]);
}

/** One point a round, in order; of two, the evaluated and the newer one. */
function merged(old: readonly HistoryPoint[], added: readonly HistoryPoint[]): readonly HistoryPoint[] {
  const last = old.at(-1);
  const [first] = added;
  if (added.length === 1 && first && (!last || first.round > last.round)) return [...old, first];
  const byRound = new Map(old.map((point) => [point.round, point]));
  for (const point of added) {
    if (point.loss !== null || point.accuracy !== null || !byRound.has(point.round)) byRound.set(point.round, point);
  }
  return [...byRound.values()].sort((a, b) => a.round - b.round);
}

/** The newest point that was evaluated. */
export function latestEvaluated(history: readonly HistoryPoint[]): HistoryPoint | undefined {
  return history.findLast((point) => point.accuracy !== null || point.loss !== null);
}

/** How far this tab's training for the round is, 0 to 1. */
export function trainedShare({ progress, status }: PageState): number {
  if (status?.state === 'uploading' || status?.state === 'reported') return 1;
  return progress && progress.steps > 0 ? Math.min(1, progress.step / progress.steps) : 0;
}

/** Whether this tab works for the round that the aggregator is in. */
export function takesPart({ status }: PageState): boolean {
  return status !== undefined && ['downloading', 'training', 'uploading', 'reported'].includes(status.state);
}
