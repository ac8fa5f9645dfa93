/** Typed listeners of a client. */
import type { ClientEventType, FedraEventMap } from './events.js';

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
