/**
 * The events of a client, as a page receives them: those of the WebAssembly module,
 * and the codes of the page's side. Types only: this file must produce no code.
 */
import type { FedraErrorCode } from './errors.js';
import type * as contract from './generated/contract.js';

export type {
  Backend,
  BackendChoice,
  BackendEvent,
  ClientScores,
  EvaluationEvent,
  Headline,
  Loss,
  ModelEvent,
  PrivacyEvent,
  PrivacyPolicy,
  ProgressEvent,
  RoundEvent,
  RoundPhase,
  SessionState,
  StatusEvent,
  StatusReason,
  TaskEvent,
  TrafficEvent,
  UpdateEvent,
  UpdateFate,
  UpdateFault,
} from './generated/contract.js';

/** Something went wrong, or is worth knowing. After a fatal one the client is closed. */
export interface ErrorEvent extends Omit<contract.ErrorEvent, 'code'> {
  /** Stable name, for programs. More may come. */
  readonly code: FedraErrorCode;
  /** One sentence that says what to do. */
  readonly remedy: string;
}

/** An event before the page is told: an error has no remedy yet. */
export type InnerEvent = Exclude<contract.ClientEvent, contract.ErrorEvent> | Omit<ErrorEvent, 'remedy'>;

/** Every event a client can report. */
export type ClientEvent = Exclude<contract.ClientEvent, contract.ErrorEvent> | ErrorEvent;

/** The name of an event. */
export type ClientEventType = ClientEvent['type'];

/** The event with the name `T`. */
export type ClientEventOf<T extends ClientEventType> = Extract<ClientEvent, { readonly type: T }>;

/** Events of listeners: the `detail` of each `CustomEvent` is the client's event. */
export type FedraEventMap = { [T in ClientEventType]: CustomEvent<ClientEventOf<T>> };
