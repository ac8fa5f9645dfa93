/** Typed listeners of a client, and its newest events in an error. */
import { FedraError } from './errors.js';
import type { ClientEventType, FedraEventMap } from './events.js';
import type { RoundSource } from './rounds.js';

/** An `EventTarget` whose listeners know the `detail` of each event. */
export class ClientEvents extends EventTarget {
  override addEventListener<T extends ClientEventType>(
    type: T,
    listener: ((this: this, event: FedraEventMap[T]) => void) | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  override addEventListener(type: string, listener: unknown, options?: AddEventListenerOptions | boolean): void {
    super.addEventListener(type, listener as EventListenerOrEventListenerObject | null, options);
  }

  override removeEventListener<T extends ClientEventType>(
    type: T,
    listener: ((this: this, event: FedraEventMap[T]) => void) | null,
    options?: EventListenerOptions | boolean,
  ): void;
  override removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: EventListenerOptions | boolean,
  ): void;
  override removeEventListener(type: string, listener: unknown, options?: EventListenerOptions | boolean): void {
    super.removeEventListener(type, listener as EventListenerOrEventListenerObject | null, options);
  }
}

/** The error for a task that did not become known in time, with the last news of the connection. */
export function tooLate(task: string, timeout: number, client: RoundSource): FedraError {
  const state = client.latest('status')?.state;
  const problem = state === 'connecting' || state === 'reconnecting' ? client.latest('error') : undefined;
  const message = `the task ${task} was not known within ${timeout / 1000} s`;
  if (!problem) return new FedraError('timeout', message);
  return new FedraError('timeout', `${message}: ${problem.message}`, { cause: new FedraError(problem.code, problem.message) });
}
