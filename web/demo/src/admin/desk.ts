/**
 * The operator's session: looks at the aggregator every other second while the
 * tab can be seen, holds the token, and does what the operator asks for. It
 * must not touch the DOM beyond document.visibilityState.
 */

import type { TaskSummary } from '../generated/http-api.js';
import type { AdminApi, Operation } from './api.js';
import { cleanToken, Refusal } from './api.js';
import type { Action, DeskState, Problem, Seen, View } from './state.js';
import { hasToWait, INITIAL, problemOf, withList, withoutAccess, withSeen, withUnderWay, withView } from './state.js';
import { doneWords, savedWords } from './words.js';

const POLL_MS = 2000;
/** The storage key of a token that the operator wants kept. */
const KEPT = 'fedra:operator-token';

/** Dispatches `change` after the state changed. */
export class Desk extends EventTarget {
  readonly #api: AdminApi;
  #state: DeskState = INITIAL;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The number of the newest look. The answer of an earlier one is out of date. */
  #epoch = 0;
  /** The number of the operator's stay. An order's outcome is not shown in a later one. */
  #stay = 0;
  /** Text of the form for a new task. The form goes with the view or the token; the text stays. */
  draft = '';

  constructor(api: AdminApi) {
    super();
    this.#api = api;
  }

  get state(): DeskState {
    return this.#state;
  }

  /** Looks at the server from now on. */
  open(view: View): void {
    this.#set(withView(this.#state, view));
    document.addEventListener('visibilitychange', this.#onVisibility);
    const token = kept();
    if (token === undefined) void this.#look();
    else void this.signIn(token, true);
  }

  close(): void {
    document.removeEventListener('visibilitychange', this.#onVisibility);
    this.#rest();
  }

  show(view: View): void {
    this.#set(withView(this.#state, view));
    void this.#look();
  }

  /** Tries the token. With `keep` it is kept until the tab is closed, otherwise only in memory. */
  async signIn(typed: string, keep: boolean): Promise<void> {
    const token = cleanToken(typed);
    if (token === undefined) {
      this.#set({ ...this.#state, refused: { code: 'bad-token', message: '', mistakes: [] } });
      return;
    }
    this.#set({ ...this.#state, access: 'checking', refused: undefined });
    this.#api.authorize(token);
    try {
      const status = await this.#api.status();
      // One that was kept before is not what the operator asks for now.
      if (keep) keepToken(token);
      else forgetToken();
      this.#set({ ...this.#state, access: 'operator', status });
    } catch (error) {
      const problem = problemOf(error);
      // No answer says nothing about a token that was kept because it was good.
      if (lost(problem)) this.#lose(problem);
      else this.#leave(problem);
    }
    void this.#look();
  }

  signOut(): void {
    this.draft = '';
    forgetToken();
    this.#leave(undefined);
    void this.#look();
  }

  /** Clears the refusal of a token. */
  dismiss(): void {
    if (this.#state.refused) this.#set({ ...this.#state, refused: undefined });
  }

  operate(id: string, operation: Operation): Promise<boolean> {
    return this.#act(id, operation, async ({ phase }) => doneWords(await this.#api.operate(id, operation), phase));
  }

  rollBack(id: string, round: number): Promise<boolean> {
    return this.#act(id, 'roll-back', async () => `Round ${await this.#api.rollBack(id, round)} has the model of round ${round} now.`);
  }

  /** Downloads the model after this round, and gives it to `save` with a file name. */
  exportModel(id: string, round: number, save: (model: Blob, name: string) => void): Promise<boolean> {
    return this.#act(id, 'export', async () => {
      const model = await this.#api.model(id, round);
      const name = `${id}-${round}.safetensors`;
      save(model, name);
      return savedWords(name, model.size);
    });
  }

  /** Resolves to the new task's name; undefined if the server has something against it. */
  async create(toml: string): Promise<string | undefined> {
    let made: string | undefined;
    const done = await this.#do('create', async () => {
      made = await this.#api.create(toml);
      return `The task “${made}” is there.`;
    });
    return done ? made : undefined;
  }

  /** An order is for the task that the operator saw, or for none. */
  #act(id: string, action: Action, work: (task: TaskSummary) => Promise<string>): Promise<boolean> {
    const { task } = this.#state;
    return task?.id === id ? this.#do(action, () => work(task)) : Promise.resolve(false);
  }

  /** Carries out an order, then looks at the server again. Resolves to whether it succeeded. */
  async #do(action: Action, work: () => Promise<string>): Promise<boolean> {
    if (hasToWait(this.#state, action)) return false;
    const { view } = this.#state;
    const stay = this.#stay;
    this.#set({ ...withUnderWay(this.#state, action, true), failure: undefined, notice: undefined });
    // Under another task's view it would be read as that task's.
    const tell = (outcome: Partial<DeskState>) => {
      if (stay === this.#stay && view === this.#state.view) this.#set({ ...this.#state, ...outcome });
    };
    let done = false;
    try {
      const notice = await work();
      done = true;
      tell({ notice });
    } catch (error) {
      const problem = problemOf(error);
      if (!lost(problem)) tell({ failure: { ...problem, action } });
      else if (stay === this.#stay) this.#lose(problem);
    }
    // Until the task is seen as it is now, a second press would be an order about how it was.
    await this.#look();
    if (stay === this.#stay) this.#set(withUnderWay(this.#state, action, false));
    return done;
  }

  #lose(problem: Problem): void {
    forgetToken();
    this.#leave(problem);
  }

  /** Forgets the token in memory and everything that it had opened. */
  #leave(problem: Problem | undefined): void {
    this.#stay += 1;
    this.#api.authorize(undefined);
    this.#set(withoutAccess(this.#state, problem));
  }

  readonly #onVisibility = (): void => {
    if (document.visibilityState === 'visible') void this.#look();
    else this.#rest();
  };

  #rest(): void {
    clearTimeout(this.#timer);
    this.#epoch += 1;
  }

  /** One look at the server, and another one soon. */
  async #look(): Promise<void> {
    this.#rest();
    const epoch = this.#epoch;
    let wait = POLL_MS;
    try {
      const seen = await this.#see(epoch);
      if (epoch !== this.#epoch) return;
      this.#set(withSeen(this.#state, seen));
    } catch (error) {
      if (epoch !== this.#epoch) return;
      const problem = problemOf(error);
      if (lost(problem)) this.#lose(problem);
      else this.#set({ ...this.#state, problem });
      if (error instanceof Refusal) wait = Math.max(wait, error.retryAfterMs ?? 0);
    }
    if (document.visibilityState === 'visible') this.#timer = setTimeout(() => void this.#look(), wait);
  }

  async #see(epoch: number): Promise<Seen> {
    const { view, access } = this.#state;
    const operator = access === 'operator';
    const status = operator ? await this.#api.status() : undefined;
    const listed = status?.tasks ?? (await this.#api.tasks());
    // The list is of use even if what is looked at is not in it.
    if (epoch === this.#epoch) this.#set(withList(this.#state, listed));
    // Without a name it is the first task, and stays it when another comes before it in the list.
    const id = view.name === 'task' ? (view.id ?? this.#state.task?.id ?? this.#state.tasks?.[0]?.id) : undefined;
    const operated = operator && id !== undefined ? await this.#api.operated(id) : undefined;
    const task = operator || id === undefined ? undefined : await this.#api.task(id);
    return { ...(status && { status }), ...(operated && { operated }), ...(task && { task }) };
  }

  #set(state: DeskState): void {
    this.#state = state;
    this.dispatchEvent(new Event('change'));
  }
}

/** True if the server no longer takes the token. */
function lost({ code }: Problem): boolean {
  return code === 'unauthorized' || code === 'no-admin';
}

function kept(): string | undefined {
  try {
    return sessionStorage.getItem(KEPT) ?? undefined;
  } catch {
    return undefined;
  }
}

function keepToken(token: string): void {
  try {
    sessionStorage.setItem(KEPT, token);
  } catch {
    // A browser that keeps nothing asks again after a reload.
  }
}

function forgetToken(): void {
  try {
    sessionStorage.removeItem(KEPT);
  } catch {
    // Then there is nothing to forget either.
  }
}
