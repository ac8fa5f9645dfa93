/**
 * Messages between the page and the worker. Types only; arrays are transferred,
 * never copied on the way.
 */
import type { FedraErrorCode } from './errors.js';
import type { InnerEvent } from './events.js';
import type { ModuleOptions, Personalization } from './generated/contract.js';
import type { ModuleSources } from './sources.js';
import type { CheckedDataset, CheckedFiles, CheckedPersonalizing, Features, ReadData, Reading, ReadingOptions } from './validate.js';

/** The module's options, and what the worker asks the page for. */
export interface ClientConfig extends ModuleOptions {
  /** With `ask` the worker asks the page for a token before every connection. */
  readonly token: 'none' | 'ask';
}

/** Files of a model. */
export interface ModelFiles {
  readonly file: Uint8Array<ArrayBuffer>;
  /** The tensors of its frozen layers, if it has some. */
  readonly frozen?: Uint8Array<ArrayBuffer>;
}

export type ToWorker =
  | { readonly type: 'start'; readonly config: ClientConfig; readonly modules?: ModuleSources }
  /** In place of `start`: no session, only this model's files. */
  | ({ readonly type: 'load'; readonly modules?: ModuleSources } & ModelFiles)
  | ({ readonly type: 'dataset'; readonly id: number } & CheckedDataset)
  /** The same, from files that the worker reads. */
  | ({ readonly type: 'files'; readonly id: number; readonly options: ReadingOptions } & CheckedFiles)
  /** Files to read for the page alone. */
  | ({ readonly type: 'read'; readonly id: number; readonly options: ReadingOptions } & CheckedFiles)
  /** The data set of this request is no longer to be taken, unless it has been. */
  | { readonly type: 'withdraw'; readonly id: number }
  /** With `personal`, by the model that `personalize` has made. */
  | { readonly type: 'predict'; readonly id: number; readonly features: Features; readonly personal?: true }
  | ({ readonly type: 'personalize'; readonly id: number } & CheckedPersonalizing)
  /** The answer to the worker's question with this number. */
  | { readonly type: 'token'; readonly id: number; readonly token: string }
  | { readonly type: 'no-token'; readonly id: number; readonly message: string }
  | { readonly type: 'recorded'; readonly id: number }
  | { readonly type: 'not-recorded'; readonly id: number; readonly message: string }
  | { readonly type: 'consent' }
  | { readonly type: 'pause' }
  | { readonly type: 'resume' }
  | { readonly type: 'close' };

export type FromWorker =
  /** The module is loaded and the session runs. */
  | { readonly type: 'started' }
  /** The model is there, and can be asked. */
  | { readonly type: 'loaded'; readonly inputShape: readonly number[]; readonly outputs: number }
  /** The worker could not start, or its module crashed; nothing follows. */
  | { readonly type: 'failed'; readonly code: FedraErrorCode; readonly message: string }
  | { readonly type: 'event'; readonly event: InnerEvent }
  /** Files of the request with this number are being read. */
  | ({ readonly type: 'reading'; readonly id: number } & Reading)
  /** Asks for the token of a connection that is about to be opened. */
  | { readonly type: 'ask-token'; readonly id: number }
  /** An update of a private round is to be sent: the page stores this count first. */
  | { readonly type: 'record'; readonly id: number; readonly participations: number }
  /** The answer to the request with this number. */
  | {
      readonly type: 'done';
      readonly id: number;
      readonly probabilities?: Float32Array;
      readonly data?: ReadData;
      readonly personalization?: Personalization;
    }
  | { readonly type: 'refused'; readonly id: number; readonly code: FedraErrorCode; readonly message: string }
  /** The session has ended; nothing follows. */
  | { readonly type: 'closed' };
