/** The module's errors and its inputs, on their way between it and a page. */
import type { FedraErrorCode } from './errors.js';
import type { Features } from './validate.js';

/** Throws unless all values are finite. */
export function checkFinite(name: string, values: Features): void {
  if (values instanceof Uint32Array) return;
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index >= 0) throw new Error(`${name}[${index}] is ${values[index]}, not a finite number`);
}

/** The module's errors have a `code`, as a FedraError has. */
export function coded(error: unknown, defaultCode: FedraErrorCode): { code: FedraErrorCode; message: string } {
  if (!(error instanceof Error)) return { code: defaultCode, message: String(error) };
  // A DOMException has a number there.
  const code = 'code' in error && typeof error.code === 'string' ? (error.code as FedraErrorCode) : defaultCode;
  return { code, message: error.message };
}
