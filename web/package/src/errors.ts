/** The package's one error class. */

/**
 * Codes that this package makes itself. The WebAssembly module has more
 * (see `ErrorEvent.code`), so `FedraError.code` is open.
 */
export type FedraErrorCode =
  | 'aborted'
  | 'bad-dataset'
  | 'bad-input'
  | 'closed'
  | 'invalid-options'
  | 'model-unavailable'
  | 'no-server'
  | 'not-in-a-browser'
  | 'timeout'
  | 'unknown-task'
  | 'wasm-load-failed'
  | 'worker-failed';

/** An error with a `code` for programs and a `message` for people. */
export class FedraError extends Error {
  readonly code: FedraErrorCode | (string & {});

  constructor(code: FedraErrorCode | (string & {}), message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'FedraError';
    this.code = code;
  }
}

/** The message of a thrown value. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The error of a call whose signal was aborted. */
export function aborted(signal: AbortSignal): FedraError {
  return new FedraError('aborted', 'the call was aborted', { cause: signal.reason });
}

/** The error of a call to something that is closed. */
export function closed(what: string): FedraError {
  return new FedraError('closed', `${what} is closed`);
}
