/**
 * Checks on what a page hands in, before anything is sent to the worker.
 * Cheap checks only: values are looked at in the worker, off the main thread.
 */
import { FedraError } from './errors.js';
import type { BackendChoice, PrivacyEvent } from './events.js';
import { checkTokenSource } from './token.js';
import type { TokenSource } from './token.js';

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

/**
 * The least that a task must promise. A task below, or with no privacy at all,
 * is refused for good.
 */
export interface PrivacyFloors {
  /** Least noise in a sum, in units of what one client can change in it; above 0. */
  readonly minNoiseMultiplier?: number;
  /** Fewest clients that a sum may have, without those that may collude; 1 or more. */
  readonly minCohort?: number;
  /** Most rounds this browser takes part in; 1 or more. A task may grant more: it stops by itself. */
  readonly maxParticipations?: number;
  /** Most, as epsilon, that this browser's rounds may cost together; above 0. */
  readonly maxEpsilon?: number;
  /** Refuse a task whose server could read a single update. */
  readonly requireSecureAggregation?: boolean;
}

/**
 * Asked once, with the terms of a private task, before its first round. Only
 * `true` lets the client take part.
 */
export type ConsentQuestion = (terms: PrivacyEvent) => boolean | Promise<boolean>;

/**
 * Example-level privacy (DP-SGD), for a site that holds the records of many
 * people: a promise about each single example, not about this client, and
 * beside whatever the task promises. The task's server neither sets it nor
 * learns of it. Its cost is in the `privacy` event's `examplePrivacy`.
 */
export interface ExamplePrivacy {
  /** Largest L2 norm of one example's gradient; above 0. */
  readonly clippingNorm: number;
  /** Noise on the sum of a step's clipped gradients, in units of `clippingNorm`; above 0. */
  readonly noiseMultiplier: number;
  /** The delta at which the cost is told; between 0 and 1. */
  readonly delta: number;
}

/** What a page insists on, how the person is asked, and what examples are promised. */
export interface PrivacyOptions {
  readonly floors?: PrivacyFloors;
  readonly examples?: ExamplePrivacy;
  /** Default `granted`: the page has asked already, or need not. */
  readonly consent?: 'granted' | ConsentQuestion;
}

/** The options of `connect` after their checks. */
export interface CheckedOptions {
  readonly url: string;
  readonly task: string;
  readonly backend: BackendChoice;
  readonly floors: PrivacyFloors | undefined;
  readonly examples: ExamplePrivacy | undefined;
  readonly consent: 'granted' | ConsentQuestion;
  readonly token: TokenSource | undefined;
}

const BACKENDS: readonly BackendChoice[] = ['auto', 'webgpu', 'cpu'];

/** Checks the options of `connect`. `base` resolves a relative URL. */
export function checkConfig(options: unknown, base?: string): CheckedOptions {
  if (!isRecord(options)) {
    throw new FedraError('invalid-options', 'connect needs an object with url and task');
  }
  const { url, task, backend = 'auto', privacy = {}, token } = options;
  if (typeof task !== 'string' || task.length === 0) {
    throw new FedraError('invalid-options', 'task must be the id of a task, for example "mnist"');
  }
  if (!BACKENDS.includes(backend as BackendChoice)) {
    throw new FedraError('invalid-options', `backend must be one of ${BACKENDS.join(', ')}`);
  }
  return {
    url: checkUrl(url, base),
    task,
    backend: backend as BackendChoice,
    token: checkTokenSource(token),
    ...checkPrivacy(privacy),
  };
}

function checkPrivacy(privacy: unknown): Pick<CheckedOptions, 'floors' | 'consent' | 'examples'> {
  if (!isRecord(privacy)) {
    throw new FedraError('invalid-options', 'privacy must be an object with floors, consent or examples');
  }
  refuseUnknown('privacy', privacy, ['floors', 'consent', 'examples']);
  const { floors, examples, consent = 'granted' } = privacy;
  if (consent !== 'granted' && typeof consent !== 'function') {
    throw new FedraError('invalid-options', "privacy.consent must be 'granted' or a function that answers true or false");
  }
  return {
    floors: floors === undefined ? undefined : checkFloors(floors),
    consent: consent as CheckedOptions['consent'],
    examples: examples === undefined ? undefined : checkExamples(examples),
  };
}

const FLOORS: { readonly [K in keyof PrivacyFloors]-?: readonly [holds: (value: unknown) => boolean, must: string] } = {
  minNoiseMultiplier: [isPositive, 'a number above 0'],
  minCohort: [isCount, 'a whole number, 1 or more'],
  maxParticipations: [isCount, 'a whole number, 1 or more'],
  maxEpsilon: [isPositive, 'a number above 0'],
  requireSecureAggregation: [(value) => typeof value === 'boolean', 'true or false'],
};

function checkFloors(floors: unknown): PrivacyFloors {
  if (!isRecord(floors)) {
    throw new FedraError('invalid-options', 'privacy.floors must be an object');
  }
  // A floor with a typing error would protect nobody.
  refuseUnknown('privacy.floors', floors, Object.keys(FLOORS));
  const checked: Record<string, unknown> = {};
  for (const [name, [holds, must]] of Object.entries(FLOORS)) {
    const value = floors[name];
    if (value === undefined) continue;
    if (!holds(value)) throw new FedraError('invalid-options', `privacy.floors.${name} must be ${must}`);
    checked[name] = value;
  }
  return checked;
}

/** All three, or the promise would be an empty one. */
function checkExamples(examples: unknown): ExamplePrivacy {
  if (!isRecord(examples)) {
    throw new FedraError('invalid-options', 'privacy.examples must be an object');
  }
  refuseUnknown('privacy.examples', examples, ['clippingNorm', 'noiseMultiplier', 'delta']);
  const { clippingNorm, noiseMultiplier, delta } = examples;
  for (const [name, value] of Object.entries({ clippingNorm, noiseMultiplier, delta })) {
    if (!isPositive(value)) throw new FedraError('invalid-options', `privacy.examples.${name} must be a number above 0`);
  }
  if ((delta as number) >= 1) throw new FedraError('invalid-options', 'privacy.examples.delta must be below 1');
  return { clippingNorm, noiseMultiplier, delta } as ExamplePrivacy;
}

function refuseUnknown(where: string, given: Record<string, unknown>, known: readonly string[]): void {
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new FedraError('invalid-options', `${where} has no ${unknown}; it may have ${known.join(', ')}`);
  }
}

function isPositive(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value) && value > 0;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) < 2 ** 32;
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
