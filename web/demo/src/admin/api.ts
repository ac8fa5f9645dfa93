/**
 * The aggregator's HTTP interface for operators. It holds the token, sends it
 * in a header to its own origin only, and never puts it into an address.
 */
import type { Mistake, OperatedTask, OperatorAction, RollBack, ServerStatus, Task, TaskState, TaskSummary } from '../generated/http-api.js';
import { ApiError, badAnswer, check, checkList, isRecord } from '../json.js';

export type Operation = Extract<OperatorAction, 'pause' | 'resume' | 'stop'>;

/** Longest wait for an answer. */
const TIMEOUT_MS = 10_000;
/** Longest wait for a model, which may be large. */
const EXPORT_TIMEOUT_MS = 600_000;

export type RefusalCode = 'unauthorized' | 'no-admin' | 'unknown-task' | 'mistakes' | 'too-large' | 'busy' | 'refused';

/** An answer of the server that is a refusal. */
export class Refusal extends Error {
  constructor(
    readonly code: RefusalCode,
    /** The server's own sentence, or empty text. */
    message: string,
    readonly mistakes: readonly Mistake[],
    /** Time to the next request that the server asks for, if it does. */
    readonly retryAfterMs: number | undefined,
  ) {
    super(message);
  }
}

/** The base address of the HTTP interface, without a trailing slash: beside the page's folder. */
export function baseOf(address: string): string {
  const { origin, pathname } = new URL(address);
  return origin + pathname.replace(/\/admin(\/(index\.html)?)?$/, '').replace(/\/$/, '');
}

/** A token as it can travel in a header; undefined if it cannot be one. */
export function cleanToken(typed: string): string | undefined {
  const token = typed.trim();
  return /^[\x21-\x7e]+$/.test(token) ? token : undefined;
}

export class AdminApi {
  readonly #base: string;
  #token: string | undefined;

  constructor(base: string) {
    this.#base = base;
  }

  /** Sends this token with every later request for operators. */
  authorize(token: string | undefined): void {
    this.#token = token;
  }

  async tasks(): Promise<readonly TaskSummary[]> {
    return checkList('TaskSummary', await this.#json('/v1/tasks'));
  }

  async task(id: string): Promise<Task> {
    return check('Task', await this.#json(`/v1/tasks/${encodeURIComponent(id)}`));
  }

  async status(): Promise<ServerStatus> {
    return check('ServerStatus', await this.#json('/v1/admin/status'));
  }

  async operated(id: string): Promise<OperatedTask> {
    return check('OperatedTask', await this.#json(own(id)));
  }

  async operate(id: string, operation: Operation): Promise<TaskState> {
    return check('Operated', await this.#json(own(id, operation), { method: 'POST' })).state;
  }

  /** Resolves to the round that has the old model now. */
  async rollBack(id: string, round: number): Promise<number> {
    const order: RollBack = { round };
    const request = { method: 'POST', body: JSON.stringify(order), headers: { 'content-type': 'application/json' } };
    return check('RolledBack', await this.#json(own(id, 'rollback'), request)).round;
  }

  /** Resolves to the new task's name. */
  async create(toml: string): Promise<string> {
    const request = { method: 'POST', body: toml, headers: { 'content-type': 'application/toml' } };
    return check('Created', await this.#json('/v1/admin/tasks', request)).id;
  }

  /** The model after this round, as a safetensors file. */
  async model(id: string, round: number): Promise<Blob> {
    const response = await this.#send(`${own(id, 'export')}?round=${round}`, {}, EXPORT_TIMEOUT_MS);
    try {
      return await response.blob();
    } catch {
      throw new ApiError('no-server', 'The download broke off.');
    }
  }

  async #json(path: string, request: RequestInit = {}): Promise<unknown> {
    const response = await this.#send(path, request, TIMEOUT_MS);
    try {
      return await response.json();
    } catch (error) {
      throw error instanceof SyntaxError ? badAnswer('JSON') : new ApiError('no-server', 'The answer broke off.');
    }
  }

  async #send(path: string, request: RequestInit, timeout: number): Promise<Response> {
    const headers = new Headers(request.headers);
    if (path.startsWith('/v1/admin/') && this.#token !== undefined) headers.set('authorization', `Bearer ${this.#token}`);
    const safe: RequestInit = { cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer' };
    let response: Response;
    try {
      response = await fetch(this.#base + path, { ...request, ...safe, headers, signal: AbortSignal.timeout(timeout) });
    } catch {
      throw new ApiError('no-server', `Nobody answers at ${this.#base}.`);
    }
    if (!response.ok) throw await refusal(path, response);
    return response;
  }
}

/** The operator's address of a task. */
function own(id: string, what?: string): string {
  return `/v1/admin/tasks/${encodeURIComponent(id)}${what === undefined ? '' : `/${what}`}`;
}

async function refusal(path: string, response: Response): Promise<Refusal> {
  // A proxy in between may answer with something else than problem details.
  const problem: unknown = await response.json().catch(() => undefined);
  const detail = isRecord(problem) && typeof problem['detail'] === 'string' ? problem['detail'] : '';
  const seconds = Number(response.headers.get('retry-after') ?? NaN);
  return new Refusal(codeOf(path, response.status), detail, mistakesOf(problem), seconds >= 0 ? seconds * 1000 : undefined);
}

/** The mistakes in a problem body; none where it has no list of them. */
export function mistakesOf(problem: unknown): readonly Mistake[] {
  if (!isRecord(problem) || !Array.isArray(problem['mistakes'])) return [];
  return checkList('Mistake', problem['mistakes']);
}

function codeOf(path: string, status: number): RefusalCode {
  switch (status) {
    case 401:
      return 'unauthorized';
    case 404:
      return path === '/v1/admin/status' || path === '/v1/admin/tasks' ? 'no-admin' : 'unknown-task';
    case 413:
      return 'too-large';
    case 422:
      return 'mistakes';
    case 429:
      return 'busy';
    default:
      return 'refused';
  }
}
