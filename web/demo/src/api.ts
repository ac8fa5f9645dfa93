/** The part of the aggregator's HTTP interface that the visitors' page reads. */
import type { Quality, Task, TaskSummary } from './generated/http-api.js';
import { ApiError, badAnswer, check, checkList } from './json.js';

export type { Privacy, Task, TaskSummary } from './generated/http-api.js';
export { ApiError };

/** A model's quality after a round; accuracy and loss are null until it is evaluated. */
export type HistoryPoint = Readonly<Quality>;

/** Every task of the aggregator, at least one. */
export async function fetchTasks(api: string): Promise<readonly TaskSummary[]> {
  const tasks = checkList('TaskSummary', await getJson(`${api}/v1/tasks`));
  if (tasks.length === 0) throw new ApiError('no-task', 'The aggregator has no task.');
  return tasks;
}

/** One task with its rounds. */
export async function fetchTask(api: string, id: string): Promise<Task> {
  return check('Task', await getJson(`${api}/v1/tasks/${encodeURIComponent(id)}`));
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

/** The quality over the rounds. Before the first round that of the initial model is in `latest` only. */
export function qualities({ history, latest }: Pick<Task, 'history' | 'latest'>): readonly HistoryPoint[] {
  return history.length === 0 && latest ? [latest] : history;
}

/** True if the task makes no more rounds. */
export function isOver({ state }: Pick<TaskSummary, 'state'>): boolean {
  return state === 'finished' || state === 'stopped';
}
