/**
 * Checks on what a page hands in, before anything is sent to the worker.
 * Cheap checks only: values are looked at in the worker, off the main thread.
 */
import { FedraError } from './errors.js';
import type { BackendChoice } from './events.js';
import type { ClientConfig } from './messages.js';

/** Class numbers, or the `n * outputs` values of a regression. */
export type Labels = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array | readonly number[];

/** Examples to train on. */
export interface TrainingData {
  /** The examples one after another, row by row. */
  readonly features: Float32Array;
  readonly labels: Labels;
  /** `[examples, ...shape of one example]`, for example `[600, 784]`. */
  readonly shape: readonly number[] | Uint32Array;
}

/** A data set that has passed the checks, in the worker's types. */
export interface CheckedDataset {
  readonly features: Float32Array;
  readonly labels: Float32Array;
  readonly shape: Uint32Array;
}

const BACKENDS: readonly BackendChoice[] = ['auto', 'webgpu', 'cpu'];

/** Checks the options of `connect`. `base` resolves a relative URL. */
export function checkConfig(options: unknown, base?: string): ClientConfig {
  if (!isRecord(options)) {
    throw new FedraError('invalid-options', 'connect needs an object with url and task');
  }
  const { url, task, backend = 'auto' } = options;
  if (typeof task !== 'string' || task.length === 0) {
    throw new FedraError('invalid-options', 'task must be the id of a task, for example "mnist"');
  }
  if (!BACKENDS.includes(backend as BackendChoice)) {
    throw new FedraError('invalid-options', `backend must be one of ${BACKENDS.join(', ')}`);
  }
  return { url: checkUrl(url, base), task, backend: backend as BackendChoice };
}

function checkUrl(url: unknown, base: string | undefined): string {
  const problem = 'url must be the address of an aggregator, for example wss://example.org/v1/connect';
  if (typeof url !== 'string' && !(url instanceof URL)) {
    throw new FedraError('invalid-options', problem);
  }
  let parsed: URL;
  try {
    parsed = new URL(url, base);
  } catch (cause) {
    throw new FedraError('invalid-options', problem, { cause });
  }
  if (parsed.protocol === 'http:') parsed.protocol = 'ws:';
  if (parsed.protocol === 'https:') parsed.protocol = 'wss:';
  if (parsed.protocol !== 'ws:' && parsed.protocol !== 'wss:') {
    throw new FedraError('invalid-options', `${problem}; ${parsed.protocol} is not a WebSocket address`);
  }
  parsed.hash = '';
  return parsed.href;
}

/** Checks a data set's types and lengths; converts labels and shape. */
export function checkDataset(data: unknown): CheckedDataset {
  if (!isRecord(data)) {
    throw new FedraError('bad-dataset', 'train needs an object with features, labels and shape');
  }
  const { features, labels, shape } = data;
  if (!(features instanceof Float32Array)) {
    throw new FedraError('bad-dataset', 'features must be a Float32Array');
  }
  const dimensions = checkShape(shape);
  const examples = dimensions[0] ?? 0;
  const values = dimensions.reduce((product, size) => product * size, 1);
  if (features.length !== values) {
    throw new FedraError(
      'bad-dataset',
      `features holds ${features.length} values, but the shape [${dimensions.join(', ')}] needs ${values}`,
    );
  }
  if (!isNumberList(labels)) {
    throw new FedraError('bad-dataset', 'labels must be a typed array or an array of numbers');
  }
  if (labels.length === 0 || labels.length % examples !== 0) {
    throw new FedraError(
      'bad-dataset',
      `${labels.length} labels do not fit ${examples} examples: one or a whole number for each is needed`,
    );
  }
  return {
    features,
    labels: labels instanceof Float32Array ? labels : Float32Array.from(labels),
    shape: Uint32Array.from(dimensions),
  };
}

function checkShape(shape: unknown): number[] {
  if (!isNumberList(shape)) {
    throw new FedraError('bad-dataset', 'shape must be [examples, ...shape of one example]');
  }
  const dimensions = Array.from(shape);
  const whole = dimensions.every((size) => Number.isInteger(size) && size > 0 && size < 2 ** 32);
  if (dimensions.length < 2 || !whole) {
    throw new FedraError(
      'bad-dataset',
      `shape must be [examples, ...shape of one example] in positive whole numbers, not [${dimensions.join(', ')}]`,
    );
  }
  return dimensions;
}

/** Checks the input of `predict`. */
export function checkFeatures(features: unknown): Float32Array {
  if (!(features instanceof Float32Array) || features.length === 0) {
    throw new FedraError('bad-input', 'predict needs a Float32Array of one or more examples');
  }
  return features;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isNumberList(value: unknown): value is ArrayLike<number> & Iterable<number> {
  if (Array.isArray(value)) return value.every((item) => typeof item === 'number');
  return ArrayBuffer.isView(value) && !(value instanceof DataView) && !isBigIntArray(value);
}

function isBigIntArray(value: ArrayBufferView): boolean {
  return value instanceof BigInt64Array || value instanceof BigUint64Array;
}
