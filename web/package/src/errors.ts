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
  | 'not-in-a-browser'
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
