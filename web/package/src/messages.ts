/**
 * Messages between the page and the worker. Types only; arrays are transferred,
 * never copied on the way.
 */
import type { BackendChoice, ClientEvent } from './events.js';
import type { CheckedDataset, ExamplePrivacy, PrivacyFloors } from './validate.js';

export interface ClientConfig {
  readonly url: string;
  readonly task: string;
  readonly backend: BackendChoice;
  readonly privacy: PrivacyConfig;
  /** With `ask` the worker asks the page for a token before every connection. */
  readonly token: 'none' | 'ask';
}

/** Floors for the module, and this browser's earlier visits. */
export interface PrivacyConfig {
  readonly floors?: PrivacyFloors;
  readonly examples?: ExamplePrivacy;
  /** With `ask` it takes part in no round of a private task before `consent`. */
  readonly consent: 'granted' | 'ask';
  /** Rounds of the task that this browser has taken part in. */
  readonly participations: number;
  /** 32 hexadecimal digits that name this browser to the task's ledger. */
  readonly subject: string;
}

export type ToWorker =
  | { readonly type: 'start'; readonly config: ClientConfig }
  /** In place of `start`: no session, only this model's file. */
  | { readonly type: 'load'; readonly file: Uint8Array }
  | ({ readonly type: 'dataset'; readonly id: number } & CheckedDataset)
  /** The data set of this request is no longer to be taken, unless it has been. */
  | { readonly type: 'withdraw'; readonly id: number }
  | { readonly type: 'predict'; readonly id: number; readonly features: Float32Array }
  /** The answer to the worker's question with this number. */
  | { readonly type: 'token'; readonly id: number; readonly token: string }
  | { readonly type: 'no-token'; readonly id: number; readonly message: string }
  | { readonly type: 'consent' }
  | { readonly type: 'pause' }
  | { readonly type: 'resume' }
  | { readonly type: 'close' };

export type FromWorker =
  /** The module is loaded and the session runs; `webgpu` says which of the two builds. */
  | { readonly type: 'started'; readonly webgpu: boolean }
  /** The model is there, and can be asked. */
  | { readonly type: 'loaded'; readonly inputShape: readonly number[]; readonly outputs: number }
  /** The worker could not start, or its module crashed; nothing follows. */
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  | { readonly type: 'event'; readonly event: ClientEvent }
  /** Asks for the token of a connection that is about to be opened. */
  | { readonly type: 'ask-token'; readonly id: number }
  /** The answer to the request with this number. */
  | { readonly type: 'done'; readonly id: number; readonly probabilities?: Float32Array }
  | { readonly type: 'refused'; readonly id: number; readonly code: string; readonly message: string }
  /** The session has ended; nothing follows. */
  | { readonly type: 'closed' };
