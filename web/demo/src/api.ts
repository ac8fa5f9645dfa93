/** The part of the aggregator's HTTP interface that the visitors' page reads. */
import type { PrivacyPolicy } from 'fedra';
import { ApiError, badAnswer, isRecord, list, number, optional, record, text } from './json.js';

export { ApiError };

/** One completed round; accuracy and loss are null until it is evaluated. */
export interface HistoryPoint {
  readonly round: number;
  readonly accuracy: number | null;
  readonly loss: number | null;
}

/** The terms of a private task. Every epsilon is one person's whole part, at `delta`. */
export interface TaskPrivacy {
  readonly policy: Exclude<PrivacyPolicy, 'none'>;
  readonly epsilon: number;
  readonly delta: number;
  /** Epsilon spent by the subject that took part most. */
  readonly spentEpsilon: number;
  /** Epsilon of one round alone. */
  readonly roundEpsilon: number;
  readonly noiseMultiplier: number;
  readonly minimumSurvivors: number;
  readonly colluders: number;
  readonly maxParticipations: number;
}

export interface TaskInfo {
  readonly id: string;
  readonly title: string;
  readonly state: string;
  readonly round: number;
  readonly clientsConnected: number;
  readonly parameters: number | undefined;
  /** The hash of the newest model. */
  readonly model: string | undefined;
  readonly roundsTotal: number | undefined;
  /** The privacy terms; null for a task without a policy. */
  readonly privacy: TaskPrivacy | null;
  readonly history: readonly HistoryPoint[];
}

/** Every task of the aggregator, at least one. */
export async function fetchTasks(api: string): Promise<readonly TaskInfo[]> {
  const tasks = await getJson(`${api}/v1/tasks`);
  if (!Array.isArray(tasks)) throw badAnswer('a list of tasks');
  if (tasks.length === 0) throw new ApiError('no-task', 'The aggregator has no task.');
  return tasks.map(parseTask);
}

/** One task. */
export async function fetchTask(api: string, id: string): Promise<TaskInfo> {
  return parseTask(await getJson(`${api}/v1/tasks/${encodeURIComponent(id)}`));
}

async function getJson(url: string): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { accept: 'application/json' }, cache: 'no-store' });
  } catch {
    throw new ApiError('no-server', `Nobody answers at ${new URL(url).origin}.`);
  }
  if (response.status === 404) throw new ApiError('unknown-task', `The aggregator does not know ${url}.`);
  if (!response.ok) throw new ApiError('no-server', `The aggregator answered ${response.status}.`);
  try {
    return await response.json();
  } catch {
    throw badAnswer('JSON');
  }
}

/** Reads the JSON of `GET /v1/tasks/{id}`. */
export function parseTask(answer: unknown): TaskInfo {
  const task = record(answer);
  const history = list(task['history'], 'history');
  const model = isRecord(task['model']) ? task['model'] : {};
  return {
    id: text(task['id'], 'id'),
    title: text(task['title'], 'title'),
    state: text(task['state'], 'state'),
    round: number(task['round'], 'round'),
    clientsConnected: number(task['clients_connected'], 'clients_connected'),
    parameters: optional(model['parameters']),
    model: typeof model['sha256'] === 'string' ? model['sha256'] : undefined,
    roundsTotal: optional(task['rounds_total']),
    privacy: parsePrivacy(task['privacy']),
    history: withLatest(history.map(historyPoint), task['latest']),
  };
}

const POLICIES: readonly unknown[] = ['distributed', 'local', 'central'];

function parsePrivacy(value: unknown): TaskPrivacy | null {
  if (value == null) return null;
  const privacy = record(value);
  const policy = privacy['policy'];
  if (policy === 'none') return null;
  if (!POLICIES.includes(policy)) throw badAnswer('a known privacy policy');
  // Without one of these the page could not state the promise.
  const figure = (name: string) => number(privacy[name], `privacy.${name}`);
  return {
    policy: policy as TaskPrivacy['policy'],
    epsilon: figure('epsilon'),
    delta: figure('delta'),
    spentEpsilon: figure('spent_epsilon'),
    roundEpsilon: figure('round_epsilon'),
    noiseMultiplier: figure('noise_multiplier'),
    minimumSurvivors: figure('minimum_survivors'),
    colluders: figure('colluders'),
    maxParticipations: figure('max_participations'),
  };
}

function historyPoint(entry: unknown): HistoryPoint {
  const point = record(entry);
  return {
    round: number(point['round'], 'round'),
    accuracy: optional(point['accuracy']) ?? null,
    loss: optional(point['loss']) ?? null,
  };
}

/** Adds the evaluation in `latest`: before the first round it is the initial model's, and nowhere else. */
function withLatest(history: HistoryPoint[], latest: unknown): HistoryPoint[] {
  return history.length === 0 && isRecord(latest) ? [historyPoint(latest)] : history;
}
