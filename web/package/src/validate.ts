/**
 * Checks of a page's options and data, before anything is sent to the worker.
 * Cheap checks only: values are looked at in the worker, off the main thread.
 */

import type { Address } from './address.js';
import { checkAddress } from './address.js';
import type { ConsentForm, ConsentQuestion } from './consent.js';
import { checkConsent } from './consent.js';
import type { FedraErrorCode } from './errors.js';
import { FedraError } from './errors.js';
import type { BackendChoice, ExamplePrivacy, PrivacyFloors } from './generated/contract.js';
import type { PersonalizeOptions } from './options.js';
import type { CheckedPauses } from './pauses.js';
import { checkPauses } from './pauses.js';
import type { ModuleSources } from './sources.js';
import { checkSources } from './sources.js';
import type { WorkerSource } from './spawn.js';
import { checkWorkerSource } from './spawn.js';
import type { TabChoice } from './tabs.js';
import { checkTabs } from './tabs.js';
import type { TokenSource } from './token.js';
import { checkTokenSource } from './token.js';

/** Values, or token ids. */
export type Features = Float32Array | Uint32Array;

/** Class numbers, or the `n * outputs` values of a regression. */
export type Labels = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array | readonly number[];

/** Examples to train on. */
export interface TrainingData {
  /** The examples one after another, row by row: values, or token ids. */
  readonly features: Features;
  /** One class number an example, from 0, or a position; for a regression `outputs` values an example, row by row. */
  readonly labels: Labels;
  /** `[examples, ...shape of one example]`, for example `[600, 784]`. */
  readonly shape: readonly number[] | Uint32Array;
}

/** A file, or the address of one. A relative address begins from the page's. */
export type DataFile = Blob | URL | string;

/** Files of the kind that the task describes: CSV, text, `.npy`, `.npz` or IDX; any but `.npz` may be gzipped. */
export interface TrainingFiles {
  /** One file or several, which are one data set together. Of arrays the examples. */
  readonly files: DataFile | readonly DataFile[];
  /** The labels of arrays that have a file of their own for them. */
  readonly labels?: DataFile;
}

/** Pictures of any size and format that the browser decodes, each with the name of its class. */
export interface TrainingImages {
  /** The pictures. `label` is a class of the task, by name. */
  readonly images: readonly { readonly file: DataFile; readonly label: string }[];
}

/** A file that has passed the checks. */
export interface CheckedFile {
  readonly source: Blob | string;
  /** Its name in messages. */
  readonly name: string;
  readonly isLabels: boolean;
  /** The class of a picture. */
  readonly label?: string;
}

export interface CheckedFiles {
  readonly files: readonly CheckedFile[];
}

/** Progress of the reading of files. */
export interface Reading {
  /** Bytes of the files. */
  readonly bytes: number;
  /** Bytes of all files, where their sizes are known: not of packed files and addresses. */
  readonly total: number | undefined;
  /** Examples so far: rows, stretches of text or pictures. */
  readonly examples: number;
}

/** Files as a model sees them. */
export interface ReadData {
  /** The examples one after another, row by row: values, or token ids. */
  readonly features: Features;
  /** Class numbers of the examples or of their positions, or values row by row. */
  readonly labels: Float32Array | Uint32Array;
  /** `[examples, ...shape of one example]`. */
  readonly shape: Uint32Array;
  /** Names of the features of a table, in their order: `age`, `age (missing)`, `job = nurse`. */
  readonly names?: readonly string[];
}

/** Choices for the reading of files. */
export interface ReadingOptions {
  readonly delimiter?: string;
  readonly decimal?: '.' | ',';
  readonly maxExamples?: number;
  readonly seed?: number;
}

/** The place of an image's channels in `shape`: `[n, channels, height, width]` or `[n, height, width, channels]`. */
export type Layout = 'channels-first' | 'channels-last';

/** A data set that has passed the checks, in the worker's types. */
export interface CheckedDataset {
  readonly features: Features;
  readonly labels: Float32Array;
  readonly shape: Uint32Array;
  readonly layout: Layout;
}

/** Floors of a page, the person's consent, and the promise for examples. */
export interface PrivacyOptions {
  /** The least that a task must promise; one below it ends the client with `privacy-refused`. */
  readonly floors?: PrivacyFloors;
  /** A promise about each single example, by DP-SGD. Default: none. */
  readonly examples?: ExamplePrivacy;
  /** Default `granted`: the page has asked already, or need not. */
  readonly consent?: 'granted' | ConsentQuestion | ConsentForm;
}

/** A task of an aggregator, as for `connect`. */
export interface Place {
  /** The aggregator, as for `connect`. */
  readonly url: string | URL;
  /** The id of the task. */
  readonly task: string;
}

/** A {@link Place} that has passed the checks. */
export interface CheckedPlace {
  readonly address: Address;
  readonly task: string;
}

/** The options that `connect` and `load` have in common, after their checks. */
export interface CheckedStart extends CheckedPlace {
  /** Address that relative ones begin from. */
  readonly base: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly worker: WorkerSource | undefined;
  readonly modules: ModuleSources | undefined;
}

/** The options of `connect` after their checks. */
export interface CheckedOptions extends CheckedStart {
  readonly backend: BackendChoice;
  readonly floors: PrivacyFloors | undefined;
  readonly examples: ExamplePrivacy | undefined;
  readonly consent: 'granted' | ConsentQuestion | ConsentForm;
  readonly token: TokenSource | undefined;
  readonly tabs: TabChoice;
  readonly pauses: CheckedPauses;
}

const BACKENDS: readonly BackendChoice[] = ['auto', 'webgpu', 'cpu'];

const PLACE = ['url', 'task'];
const START = [...PLACE, 'signal', 'worker', 'wasm', 'pin'];

/** Checks the options of `connect`. `page` is the page's address, which relative ones begin from. */
export function checkConfig(options: unknown, page?: string): CheckedOptions {
  const given = optionsOf('connect', options, [...START, 'backend', 'privacy', 'token', 'tabs', 'pauses']);
  const { backend = 'auto', privacy = {}, token } = given;
  const manners = { tabs: checkTabs(given['tabs']), pauses: checkPauses(given['pauses']) };
  const start = checkStart(given, page);
  if (!BACKENDS.includes(backend as BackendChoice)) {
    throw new FedraError('invalid-options', `backend must be one of ${BACKENDS.join(', ')}`);
  }
  return { ...start, backend: backend as BackendChoice, token: checkTokenSource(token), ...manners, ...checkPrivacy(privacy) };
}

/** Checks the options of `load`. */
export function checkLoad(options: unknown, page?: string): CheckedStart {
  return checkStart(optionsOf('load', options, START), page);
}

/** Checks the place of a call that needs no client. */
export function checkPlace(call: string, place: unknown, page?: string): CheckedPlace {
  return checkTask(optionsOf(call, place, PLACE), page);
}

function checkStart({ signal, worker, wasm, pin, ...place }: Record<string, unknown>, page: string | undefined): CheckedStart {
  return {
    ...checkTask(place, page),
    base: page,
    signal: checkSignal(signal),
    worker: checkWorkerSource(worker, page),
    modules: checkSources(wasm, pin, page),
  };
}

function checkTask({ url, task }: Record<string, unknown>, page: string | undefined): CheckedPlace {
  if (typeof task !== 'string' || task.length === 0) {
    throw new FedraError('invalid-options', 'task must be the id of a task, for example "mnist"');
  }
  return { address: checkAddress(url, page), task };
}

/** The options of `train` after their checks. */
export interface CheckedTraining {
  readonly transfer: boolean;
  readonly layout: Layout;
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
  readonly reading: ReadingOptions;
  readonly onReading: ((progress: Reading) => void) | undefined;
}

const MOST_EPOCHS = 1000;
const MOST_BATCH = 65536;

const LAYOUTS: readonly Layout[] = ['channels-first', 'channels-last'];
/** Default wait of `train` for the task, in milliseconds. */
const TRAIN_MS = 30_000;
/** The longest time that a browser's timer knows, in milliseconds; beyond it there is no limit. */
export const LONGEST_MS = 2 ** 31 - 1;

/** Checks the options of `train`. */
export function checkTraining(options: unknown): CheckedTraining {
  const known = ['transfer', 'layout', 'timeout', 'signal', 'delimiter', 'decimal', 'maxExamples', 'seed', 'onReading'];
  const given = optionsOf('train', options, known);
  const { transfer = false, layout = 'channels-first', timeout = TRAIN_MS, signal, onReading } = given;
  if (typeof transfer !== 'boolean') throw new FedraError('invalid-options', 'transfer must be true or false');
  if (!LAYOUTS.includes(layout as Layout)) {
    throw new FedraError('invalid-options', `layout must be one of ${LAYOUTS.join(', ')}`);
  }
  if (typeof timeout !== 'number' || !(timeout > 0)) {
    throw new FedraError('invalid-options', 'timeout must be milliseconds above 0, or Infinity');
  }
  if (onReading !== undefined && typeof onReading !== 'function') {
    throw new FedraError('invalid-options', 'onReading must be a function');
  }
  return {
    transfer,
    layout: layout as Layout,
    timeout,
    signal: checkSignal(signal),
    reading: checkReading(given),
    onReading: onReading as CheckedTraining['onReading'],
  };
}

/** Checks the options of `trainKept`. The others were kept with the files. */
export function checkTrainingKept(options: unknown): CheckedTraining {
  return checkTraining(optionsOf('trainKept', options, ['timeout', 'signal', 'onReading']));
}

/** Refuses options that only arrays have a use for. */
export function checkFileOptions(call: string, options: object): void {
  for (const name of ['transfer', 'layout']) {
    if (name in options) throw new FedraError('invalid-options', `${call} has no ${name} for files: the module reads them`);
  }
}

function checkReading(given: Record<string, unknown>): ReadingOptions {
  const { delimiter, decimal = '.', maxExamples, seed = 0 } = given;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a tab is a delimiter.
  if (delimiter !== undefined && !(typeof delimiter === 'string' && /^[\x00-\x7f]$/.test(delimiter))) {
    throw new FedraError('invalid-options', 'delimiter must be one ASCII character');
  }
  if (decimal !== '.' && decimal !== ',') throw new FedraError('invalid-options', "decimal must be '.' or ','");
  if (maxExamples !== undefined && !isCount(maxExamples)) {
    throw new FedraError('invalid-options', 'maxExamples must be a whole number, 1 or more');
  }
  if (seed !== 0 && !isCount(seed)) throw new FedraError('invalid-options', 'seed must be a whole number from 0');
  const reading = { delimiter, decimal, maxExamples, seed };
  return Object.fromEntries(Object.entries(reading).filter(([, value]) => value !== undefined));
}

function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw new FedraError('invalid-options', 'signal must be an AbortSignal');
}

/** `options`, which have no other names than these. */
function optionsOf(call: string, options: unknown, known: readonly string[]): Record<string, unknown> {
  if (!isRecord(options)) throw new FedraError('invalid-options', `${call} needs an object with ${known.join(', ')}`);
  refuseUnknown(call, options, known);
  return options;
}

function checkPrivacy(privacy: unknown): Pick<CheckedOptions, 'floors' | 'consent' | 'examples'> {
  if (!isRecord(privacy)) {
    throw new FedraError('invalid-options', 'privacy must be an object with floors, consent or examples');
  }
  refuseUnknown('privacy', privacy, ['floors', 'consent', 'examples']);
  const { floors, examples, consent = 'granted' } = privacy;
  return {
    floors: floors === undefined ? undefined : checkFloors(floors),
    consent: checkConsent(consent),
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
  // A floor with a typing error would have no effect.
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

/** Checks example privacy. All three numbers are needed. */
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

function refuseUnknown(
  where: string,
  given: Record<string, unknown>,
  known: readonly string[],
  code: FedraErrorCode = 'invalid-options',
): void {
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new FedraError(code, `${where} has no ${unknown}; it may have ${known.join(', ')}`);
  }
}

function isPositive(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value) && value > 0;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) < 2 ** 32;
}

/** True for data that the worker reads. */
export function isFiles(data: unknown): data is TrainingFiles | TrainingImages {
  return isRecord(data) && ('files' in data || 'images' in data);
}

/** Checks files. `page` is the page's address, which relative ones begin from. */
export function checkFiles(data: TrainingFiles | TrainingImages, page: string | undefined): CheckedFiles {
  if ('images' in data) {
    refuseUnknown('the data set', { ...data }, ['images'], 'bad-dataset');
    if (!Array.isArray(data.images) || data.images.length === 0) {
      throw new FedraError('bad-dataset', 'images must be a list of { file, label } with at least one picture');
    }
    return { files: data.images.map((image: unknown) => checkImage(image, page)) };
  }
  refuseUnknown('the data set', { ...data }, ['files', 'labels'], 'bad-dataset');
  const files: readonly unknown[] = Array.isArray(data.files) ? data.files : [data.files];
  if (files.length === 0) throw new FedraError('bad-dataset', 'files must have at least one file');
  const examples = files.map((file) => checkFile(file, page, false));
  return { files: data.labels === undefined ? examples : [...examples, checkFile(data.labels, page, true)] };
}

function checkImage(image: unknown, page: string | undefined): CheckedFile {
  const { file, label } = isRecord(image) ? image : {};
  if (typeof label !== 'string') {
    throw new FedraError('bad-dataset', 'each of images must be { file, label } with the name of a class');
  }
  return { ...checkFile(file, page, false), label };
}

function checkFile(file: unknown, page: string | undefined, isLabels: boolean): CheckedFile {
  if (file instanceof Blob) {
    const name = 'name' in file && typeof file.name === 'string' ? file.name : isLabels ? 'the labels' : 'the file';
    return { source: file, name, isLabels };
  }
  if (typeof file !== 'string' && !(file instanceof URL)) {
    throw new FedraError('bad-dataset', 'a file must be a File, a Blob, or an address');
  }
  try {
    const url = new URL(file, page);
    const last = url.pathname.split('/').pop();
    return { source: url.href, name: last ? decodeURIComponent(last) : url.href, isLabels };
  } catch {
    throw new FedraError('bad-dataset', `${String(file)} is not an address`);
  }
}

/** Checks a data set's types and lengths; converts labels and shape. */
export function checkDataset(data: unknown, layout: Layout): CheckedDataset {
  if (!isRecord(data)) {
    throw new FedraError('bad-dataset', 'train needs an object with features, labels and shape');
  }
  // A misplaced option would train on something else than what was meant.
  refuseUnknown('the data set', data, ['features', 'labels', 'shape'], 'bad-dataset');
  const { features, labels, shape } = data;
  if (!isFeatures(features)) {
    throw new FedraError('bad-dataset', 'features must be a Float32Array, or a Uint32Array of token ids');
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
    layout,
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
export function checkFeatures(features: unknown): Features {
  if (!isFeatures(features) || features.length === 0) {
    throw new FedraError('bad-input', 'predict needs a Float32Array of one or more examples, or a Uint32Array of token ids');
  }
  return features;
}

/** Checks the options of `predict`. */
export function checkPredicting(options: unknown): { readonly isPersonal: boolean; readonly signal: AbortSignal | undefined } {
  const { model = 'global', signal } = optionsOf('predict', options, ['model', 'signal']);
  if (model !== 'global' && model !== 'personal') {
    throw new FedraError('invalid-options', `predict: model must be 'global' or 'personal'; it is ${String(model)}`);
  }
  return { isPersonal: model === 'personal', signal: checkSignal(signal) };
}

/** Checks the options of `rounds`, or of `predict` of a model without a session: a signal. */
export function checkWait(call: string, options: unknown): AbortSignal | undefined {
  const { signal } = optionsOf(call, options, ['signal']);
  return checkSignal(signal);
}

/** Checked options of `personalize`. */
export type CheckedPersonalizing = Required<Omit<PersonalizeOptions, 'signal'>>;

/** Checks the options of `personalize`. */
export function checkPersonalizing(options: unknown): CheckedPersonalizing & { readonly signal: AbortSignal | undefined } {
  const given = optionsOf('personalize', options, ['epochs', 'batchSize', 'learningRate', 'signal']);
  const { epochs = 5, batchSize = 10, learningRate = 0.05, signal } = given;
  const whole = (name: string, value: unknown, most: number): number => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= most) return value;
    throw new FedraError('invalid-options', `personalize: ${name} must be a whole number from 1 to ${most}; it is ${String(value)}`);
  };
  if (typeof learningRate !== 'number' || !(learningRate > 0 && learningRate < Number.POSITIVE_INFINITY)) {
    throw new FedraError('invalid-options', `personalize: learningRate must be a number above 0; it is ${String(learningRate)}`);
  }
  return {
    epochs: whole('epochs', epochs, MOST_EPOCHS),
    batchSize: whole('batchSize', batchSize, MOST_BATCH),
    learningRate,
    signal: checkSignal(signal),
  };
}

function isFeatures(features: unknown): features is Features {
  return features instanceof Float32Array || features instanceof Uint32Array;
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
