/**
 * State of the visitors' page, and its changes by events. Pure: the session feeds it,
 * the components draw it.
 */
import type {
  BackendEvent,
  ClientEvent,
  ClientScores,
  FedraErrorCode,
  ModelEvent,
  PrivacyEvent,
  ProgressEvent,
  RoundEvent,
  SessionState,
  StatusEvent,
  TrafficEvent,
  UpdateEvent,
} from 'fedra';
import type { ApiError, HistoryPoint, Task, TaskSummary } from './api.js';
import { qualities } from './api.js';
import type { Metrics } from './generated/http-api.js';
import type { DataKind, PageData, TaskData } from './task-data.js';
import { dataOf, kindOf } from './task-data.js';

/** The visitor's stage. */
export type Stage = 'before' | 'starting' | 'running' | 'ended';

/** Codes of the client, of the aggregator's answers, and of this page. */
export type ProblemCode = FedraErrorCode | ApiError['code'] | 'bad-options' | 'budget-spent' | 'no-digits' | 'unexpected';

export interface Problem {
  readonly code: ProblemCode;
  readonly message: string;
  readonly fatal: boolean;
}

export interface PageState {
  readonly stage: Stage;
  readonly paused: boolean;
  /** Kind of the task's data, once the task is known. */
  readonly kind: DataKind | undefined;
  /** The task's data, where the aggregator describes them. */
  readonly data: TaskData | undefined;
  /** Examples this tab holds, and the part of the task's data that they are. */
  readonly examples: number;
  readonly shard: number | undefined;
  /** True if the visitor gave their own files in place of a part. */
  readonly own: boolean;
  /** The tasks of the aggregator. */
  readonly tasks: readonly TaskSummary[];
  readonly task: Task | undefined;
  readonly status: StatusEvent | undefined;
  readonly backend: BackendEvent | undefined;
  readonly round: RoundEvent | undefined;
  readonly progress: ProgressEvent | undefined;
  readonly model: ModelEvent | undefined;
  readonly traffic: TrafficEvent | undefined;
  readonly lastUpdate: UpdateEvent | undefined;
  readonly accepted: number;
  readonly privacy: PrivacyEvent | undefined;
  /** The terms that wait for the visitor's answer. */
  readonly asking: PrivacyEvent | undefined;
  readonly history: readonly HistoryPoint[];
  /** The newest scores on examples that the clients hold out. */
  readonly byClients: ClientScores | undefined;
  readonly problem: Problem | undefined;
  /** News that is no fault, such as a lost WebGPU device. */
  readonly notice: Problem | undefined;
}

export const INITIAL: PageState = {
  stage: 'before',
  paused: false,
  kind: undefined,
  data: undefined,
  examples: 0,
  shard: undefined,
  own: false,
  tasks: [],
  task: undefined,
  status: undefined,
  backend: undefined,
  round: undefined,
  progress: undefined,
  model: undefined,
  traffic: undefined,
  lastUpdate: undefined,
  accepted: 0,
  privacy: undefined,
  asking: undefined,
  history: [],
  byClients: undefined,
  problem: undefined,
  notice: undefined,
};

/** Errors after which nothing is wrong. */
const NOTICES: readonly ProblemCode[] = [
  'no-webgpu',
  'device-lost',
  'step-unusable',
  'privacy-exhausted',
  'privacy-declined',
  'task-finished',
];
/** Errors for which this tab left one round, or sits out: shown until an update is accepted. */
const OF_A_ROUND: readonly ProblemCode[] = [
  'bad-dataset',
  'unsupported-task',
  'training-diverged',
  'training-failed',
  'out-of-range',
  'model-unavailable',
  'secure-aggregation-failed',
  'privacy-failed',
  'participation-not-kept',
  'no-randomness',
  'worker-failed',
];
/** States of a tab whose training for the round is done. */
const TRAINED: readonly SessionState[] = ['sharing', 'uploading', 'unmasking', 'reported'];
/** States of a tab that works for the round. */
const IN_ROUND: readonly SessionState[] = ['downloading', 'training', 'evaluating', ...TRAINED];
/** States that show that the connection works. */
const HEALTHY: readonly SessionState[] = ['consent', 'unavailable', 'waiting', 'paused', ...IN_ROUND];

/** The state after an event of the client. */
export function withEvent(state: PageState, event: ClientEvent): PageState {
  switch (event.type) {
    case 'status':
      return withStatus(state, event);
    case 'backend':
      return { ...state, backend: event };
    case 'task':
    case 'evaluation':
    case 'tab':
      return state;
    case 'round':
      return { ...state, round: event };
    case 'progress':
      return { ...state, progress: event };
    case 'traffic':
      return { ...state, traffic: event };
    case 'update':
      return withUpdate(state, event);
    case 'privacy':
      return { ...state, privacy: event };
    case 'model':
      return {
        ...state,
        model: event,
        history: withEvaluation(state.history, event),
        byClients: event.byClients ?? state.byClients,
      };
    case 'error':
      if (event.code === 'privacy-declined') return { ...state, stage: 'before', asking: undefined, notice: event };
      if (NOTICES.includes(event.code) || (!event.fatal && OF_A_ROUND.includes(event.code))) return { ...state, notice: event };
      return { ...state, problem: event, ...(event.fatal ? { stage: 'ended', asking: undefined } : {}) };
  }
}

function withUpdate(state: PageState, event: UpdateEvent): PageState {
  const lastUpdate = event;
  if (event.outcome !== 'accepted') return { ...state, lastUpdate };
  const notice = state.notice && OF_A_ROUND.includes(state.notice.code) ? undefined : state.notice;
  return { ...state, lastUpdate, notice, accepted: state.accepted + 1 };
}

function withStatus(state: PageState, status: StatusEvent): PageState {
  const problem = HEALTHY.includes(status.state) ? undefined : state.problem;
  const progress = status.state === 'training' ? state.progress : undefined;
  // After a refusal the stage is the one before the click.
  const ended = status.state === 'closed' && state.stage !== 'before';
  return { ...state, status, problem, progress, ...(ended ? { stage: 'ended', asking: undefined } : {}) };
}

/** The state after `GET /v1/tasks/{id}`; `page` is what this page has for the task. */
export function withTask(state: PageState, task: Task, page?: PageData): PageState {
  const data = dataOf(task, page);
  // Forms that are filled in stay as they are until something is new.
  const isSame = JSON.stringify(data) === JSON.stringify(state.data);
  return {
    ...state,
    task,
    kind: kindOf(task),
    data: isSame ? state.data : data,
    history: merged(state.history, qualities(task)),
    byClients: scoresOf(task) ?? state.byClients,
    problem: state.stage === 'before' ? undefined : state.problem,
  };
}

/** The state with another task in view, if it is known; digits that are there stay for a task of digits. */
export function withTaskChosen({ tasks, kind, examples, shard }: PageState, id: string | undefined, page?: PageData): PageState {
  const task = tasks.find((one) => one.id === id);
  const chosen = { ...INITIAL, tasks, ...(task ? { kind: kindOf(task), data: dataOf(task, page) } : {}) };
  return kind === 'digits' && chosen.kind === 'digits' ? { ...chosen, examples, shard } : chosen;
}

/** The newest scores on examples that the clients hold out. */
function scoresOf({ latest_by_clients: latest }: Task): ClientScores | undefined {
  if (!latest || latest.loss === null) return undefined;
  const { round, loss, accuracy } = latest;
  return { round, loss, ...(accuracy === null ? {} : { accuracy }) };
}

function withEvaluation(history: readonly HistoryPoint[], model: ModelEvent): readonly HistoryPoint[] {
  const { evaluatedRound: round } = model;
  return round === undefined ? history : merged(history, [{ round, ...metricsOf(model) }]);
}

/** The metrics of a client's event. */
function metricsOf(model: ModelEvent): Metrics {
  const { accuracy = null, loss = null, auc, perplexity, mae, rmse, r2 } = model;
  const others = { top_5_accuracy: model.top5Accuracy, macro_f1: model.macroF1, bits_per_token: model.bitsPerToken };
  return { accuracy, loss, ...known({ ...others, auc, perplexity, mae, rmse, r2 }) };
}

function known<Name extends string>(values: Record<Name, number | undefined>): { [name in Name]?: number } {
  const there = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(there) as { [name in Name]?: number };
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

/** Progress of this tab's training for the round, 0 to 1. */
export function trainedShare({ progress, status }: PageState): number {
  if (status && TRAINED.includes(status.state)) return 1;
  return progress && progress.steps > 0 ? Math.min(1, progress.step / progress.steps) : 0;
}

/** True if this tab works for the round that the aggregator is in. */
export function takesPart({ status }: PageState): boolean {
  return status !== undefined && IN_ROUND.includes(status.state);
}
