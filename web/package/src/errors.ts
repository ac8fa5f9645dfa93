/** The package's one error class, and the codes of errors and `error` events. */
import type { CallCode, EventCode } from './generated/contract.js';
import { REMEDIES } from './remedies.js';

/** Codes that only the page's side makes. The module's are generated from its sources. */
export type PackageCode =
  /** The input of a call has the wrong type. */
  | 'bad-input'
  /** The page's Content-Security-Policy does not allow the aggregator. */
  | 'blocked-by-policy'
  /** The question for consent failed, which counts as no. */
  | 'consent-failed'
  /** The person has withdrawn their consent. */
  | 'consent-revoked'
  /** The page may store nothing in this browser, or its storage is out of order. */
  | 'no-storage'
  /** There is no `Worker` here. */
  | 'not-in-a-browser'
  /** No files are kept for the task. */
  | 'nothing-kept'
  /** The client trains on no files that could be kept. */
  | 'nothing-to-keep'
  /** Another tab of this browser takes part, and has the model. */
  | 'other-tab'
  /** The person did not agree to the task's terms. */
  | 'privacy-declined'
  /** The browser has no room for the files. */
  | 'storage-full'
  /** The task did not become known in time. */
  | 'timeout'
  /** The aggregator has no such task. */
  | 'unknown-task'
  /** A WebAssembly module is not the one that `pin` names. */
  | 'wasm-hash-mismatch'
  /** The WebAssembly module could not be loaded. */
  | 'wasm-load-failed'
  /** The worker could not start, or crashed. */
  | 'worker-failed';

/** Code of a {@link FedraError}, or of an `error` event. */
export type FedraErrorCode = CallCode | EventCode | PackageCode;

/** An error with a `code` for programs and a `message` for people. */
export class FedraError extends Error {
  /** Stable name, for programs. More may come. */
  readonly code: FedraErrorCode;

  constructor(code: FedraErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'FedraError';
    this.code = code;
  }

  /** One sentence that says what to do. */
  get remedy(): string {
    return REMEDIES[this.code];
  }
}

/** The message of a thrown value. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The error of a place that cannot be used; `what` is missing then. */
export function notStored(what: string, cause: unknown): FedraError {
  if (cause instanceof FedraError) return cause;
  const message = `${what} (${wordsOf(cause)}); allow this site to store data, or leave the private window`;
  return new FedraError('no-storage', message, { cause });
}

/** The error of a call whose signal was aborted. */
export function aborted(signal: AbortSignal): FedraError {
  return new FedraError('aborted', 'the call was aborted', { cause: signal.reason });
}

/** The error of a call to something that is closed. */
export function closed(what: string): FedraError {
  return new FedraError('closed', `${what} is closed`);
}
