/** Checks of JSON from the aggregator. A value that does not fit is an ApiError. */
import type { Shapes } from './generated/http-api.js';
import { SHAPES } from './generated/http-api.js';

export class ApiError extends Error {
  constructor(
    readonly code: 'no-server' | 'no-task' | 'unknown-task' | 'bad-answer',
    message: string,
  ) {
    super(message);
  }
}

/** The shape of a value. A field whose name ends in `?` may be absent. */
type Shape =
  | 'string'
  | 'time'
  | 'integer'
  | 'number'
  | 'boolean'
  | keyof Shapes
  | { readonly words: readonly string[] }
  | { readonly list: Shape }
  | { readonly maybe: Shape }
  | { readonly fields: Readonly<Record<string, Shape>> };

/** The value as the type of this name. */
export function check<Name extends keyof Shapes>(name: Name, value: unknown): Shapes[Name] {
  fit(value, name, name);
  return value as Shapes[Name];
}

/** The value as a list of the type of this name. */
export function checkList<Name extends keyof Shapes>(name: Name, value: unknown): readonly Shapes[Name][] {
  fit(value, { list: name }, name);
  return value as readonly Shapes[Name][];
}

/** Throws unless the value has the shape; `what` names it. */
function fit(value: unknown, shape: Shape, what: string): void {
  if (typeof shape === 'string') {
    if (shape in SHAPES) fit(value, SHAPES[shape as keyof Shapes], what);
    else if (!isPlain(value, shape)) throw badAnswer(`a ${shape} for ${what}`);
  } else if ('words' in shape) {
    if (!shape.words.some((word) => word === value)) throw badAnswer(`a known ${what}`);
  } else if ('maybe' in shape) {
    if (value !== null) fit(value, shape.maybe, what);
  } else if ('list' in shape) {
    if (!Array.isArray(value)) throw badAnswer(`a list for ${what}`);
    for (const one of value) fit(one, shape.list, what);
  } else {
    fitFields(value, shape.fields, what);
  }
}

function fitFields(value: unknown, fields: Readonly<Record<string, Shape>>, what: string): void {
  if (!isRecord(value)) throw badAnswer(`an object for ${what}`);
  for (const [key, shape] of Object.entries(fields)) {
    const name = key.replace(/\?$/, '');
    if (name === key || name in value) fit(value[name], shape, `${what}.${name}`);
  }
}

function isPlain(value: unknown, shape: string): boolean {
  if (shape === 'integer') return Number.isInteger(value);
  if (shape === 'time') return typeof value === 'string' && !Number.isNaN(Date.parse(value));
  return typeof value === shape;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function badAnswer(expected: string): ApiError {
  return new ApiError('bad-answer', `The aggregator's answer lacks ${expected}.`);
}
