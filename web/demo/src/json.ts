/** Checks of JSON from the aggregator. A value that does not fit is an ApiError. */

export class ApiError extends Error {
  constructor(
    readonly code: 'no-server' | 'no-task' | 'unknown-task' | 'bad-answer',
    message: string,
  ) {
    super(message);
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function record(value: unknown): Record<string, unknown> {
  if (!isRecord(value)) throw badAnswer('an object');
  return value;
}

export function list(value: unknown, name: string): readonly unknown[] {
  if (!Array.isArray(value)) throw badAnswer(`a list for ${name}`);
  return value;
}

export function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw badAnswer(`a text for ${name}`);
  return value;
}

export function number(value: unknown, name: string): number {
  if (typeof value !== 'number') throw badAnswer(`a number for ${name}`);
  return value;
}

/** One of `words`. */
export function word<Word extends string>(value: unknown, words: readonly Word[], name: string): Word {
  const found = words.find((one) => one === value);
  if (found === undefined) throw badAnswer(`a known ${name}`);
  return found;
}

export function optional(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

export function badAnswer(expected: string): ApiError {
  return new ApiError('bad-answer', `The aggregator's answer lacks ${expected}.`);
}
