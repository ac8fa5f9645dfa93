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
/** Rule that makes a client rest. */
export type PauseReason =
  /** The tab is in the background. */
  | 'hidden'
  /** The battery is low, and not charging. */
  | 'battery'
  /** The person asks sites to save data. */
  | 'save-data'
  /** The device is on a mobile network. */
  | 'metered';

/** Reason in a `status` event: as of the module, or the rule by which the client rests. */
export type StatusReason = contract.StatusReason | PauseReason;

/** The client does something else now. */
export interface StatusEvent extends Omit<contract.StatusEvent, 'reason'> {
  /** Reason why it is unavailable, paused by a rule, or waits longer than for the next round. */
  readonly reason?: StatusReason;
}

/** The place of this tab among those that want to take part in the task, with the option `tabs: 'one'`. */
export interface TabEvent {
  readonly type: 'tab';
  /** True if this tab takes part. If not, its events are those of the one that does. */
  readonly leads: boolean;
}

/** Every event a client can report. */
export type ClientEvent = Exclude<contract.ClientEvent, contract.ErrorEvent | contract.StatusEvent> | ErrorEvent | StatusEvent | TabEvent;

/** The name of an event. */
export type ClientEventType = ClientEvent['type'];

/** The event with the name `T`. */
export type ClientEventOf<T extends ClientEventType> = Extract<ClientEvent, { readonly type: T }>;

/** Events of listeners: the `detail` of each `CustomEvent` is the client's event. */
export type FedraEventMap = { [T in ClientEventType]: CustomEvent<ClientEventOf<T>> };
