/** Loads the WebAssembly modules. It must not know a page's use of them. */
import { FedraError, wordsOf } from './errors.js';
import type { ClientEvent, ModuleOptions, Personalization } from './generated/contract.js';
import { sha256 } from './hash.js';
import { OWN } from './own-wasm.js';
import type { PolicyWatch } from './policy.js';
import type { CheckedSource, ModuleSources } from './sources.js';
import { FILES } from './sources.js';
import type { Features, Layout, ReadData, ReadingOptions } from './validate.js';

/** The client inside its module. Its run ends after `close`. */
export interface EdgeClient {
  run(): Promise<void>;
  /** Settles when the task is known, and with it whether the data fit. */
  setDataset(features: Features, labels: Float32Array, shape: Uint32Array, layout: Layout): Promise<void>;
  /** The same for examples that were read from files, by the description that the task had. */
  setRead(features: Features, labels: Float32Array, shape: Uint32Array, description: Uint8Array | undefined): Promise<void>;
  /** Settles once the task is known, and with it what its data are. */
  dataDescription(): Promise<DataDescription>;
  /** Gives up data that wait for the task. */
  withdrawDataset(): void;
  consent(): void;
  pause(): void;
  resume(): void;
  close(): void;
  predict(features: Features): Promise<Float32Array>;
  /** The same of the model that `personalize` has made. */
  predictPersonal(features: Features): Promise<Float32Array>;
  personalize(epochs: number, batchSize: number, learningRate: number): Promise<Personalization>;
}

/** The description of a task's data, if it has one, and the model's input, its vocabulary or 0, and its output positions. */
export type DataDescription = readonly [description: Uint8Array | undefined, input: Uint32Array, vocabulary: number, positions: number];

/** Reader of one data set, file by file. A mistake ends it. */
export interface DataReader {
  readonly examples: number;
  open(name: string, isLabels: boolean): void;
  push(bytes: Uint8Array): void;
  close(): void;
  picture(name: string, width: number, height: number, rgba: Uint8Array, label: string): void;
  /** The data set, with images channels first. */
  arrays(): ReadData;
}

/** A model without a session. */
export interface Predictor {
  readonly inputShape: Uint32Array;
  readonly outputs: number;
  predict(features: Features): Promise<Float32Array>;
  /** Gives its memory back to the module. */
  free(): void;
}

/** Exports of both modules. */
interface Bindings {
  /** Compiles the module, unless it is compiled, and makes an instance. */
  default(options: { readonly module_or_path: unknown }): Promise<unknown>;
}

/** Exports of the client's module. */
export interface WasmModule extends Bindings {
  Predictor: new (file: Uint8Array, frozen?: Uint8Array) => Predictor;
  EdgeClient: new (
    options: ModuleOptions,
    onEvent: (event: ClientEvent) => void,
    /** Resolves once the count of rounds is stored: an update of a private round waits for it. */
    record: (participations: number) => Promise<void>,
    /** Storage of what sparse codecs have not sent; it rejects nothing. */
    residual: { load(): Promise<Uint8Array | undefined>; keep(bytes: Uint8Array): Promise<void> },
    askToken?: () => Promise<string>,
  ) => EdgeClient;
}

/** Exports of the module that reads files. */
export interface ReaderModule extends Bindings {
  DataReader: new (...task: [...DataDescription, options: ReadingOptions]) => DataReader;
  /** Makes a new instance, and ends the readers of the one before. */
  __wbg_reset_state(): void;
}

let readers: Promise<ReaderModule> | undefined;
/** Readings that the module's memory is in use for. */
let open = 0;

/** The client's module, ready for use. */
export function loadModule(policy: PolicyWatch, sources: ModuleSources = {}): Promise<WasmModule> {
  return loaded(policy, 'client', sources, { bindings: () => import('../wasm/fedra.js'), manifest: ownManifest });
}

/** The module that reads files, ready for use. Only a page that gives files waits for it. */
export async function loadReaders(policy: PolicyWatch, sources: ModuleSources = {}): Promise<ReaderModule> {
  // Of two instances at a time the module's own variables would have one.
  readers ??= loaded(policy, 'reader', sources, { bindings: () => import('../wasm/fedra-reader.js'), manifest: ownManifest });
  try {
    return await readers;
  } catch (error) {
    readers = undefined;
    throw error;
  }
}

/** Result of `use`, which reads a data set. The module's memory is given back when no other is being read. */
export async function releasing<Read>(module: ReaderModule, use: () => Promise<Read>): Promise<Read> {
  open += 1;
  try {
    return await use();
  } finally {
    open -= 1;
    if (open === 0) module.__wbg_reset_state();
  }
}

/** The package's files of a module. A service worker has them from the start. */
interface Imports<Module> {
  bindings(): Promise<Module>;
  manifest(): Promise<Manifest>;
}

interface Manifest {
  readonly files: readonly { readonly name: string; readonly sha256: string }[];
}

/** A module, ready for use. */
export async function loaded<Module extends Bindings>(
  policy: PolicyWatch,
  name: 'client' | 'reader',
  sources: ModuleSources,
  imports: Imports<Module>,
): Promise<Module> {
  try {
    const source = await (sources[name] ?? OWN[name]());
    const wasm = sources.pin === undefined ? source : pinned(FILES[name], source, sources.pin, imports.manifest);
    const [module, checked] = await Promise.all([imports.bindings(), wasm]);
    await module.default({ module_or_path: checked });
    return module;
  } catch (cause) {
    if (cause instanceof FedraError) throw cause;
    // A violation may be told after the error that it causes.
    await new Promise((resolve) => setTimeout(resolve));
    const place = typeof sources[name] === 'string' ? sources[name] : `beside ${import.meta.url}`;
    const message = `the WebAssembly module ${place} could not be loaded: ${wordsOf(cause)}`;
    throw new FedraError('wasm-load-failed', policy.explain(message), { cause });
  }
}

/** The module, compiled, if it has the hash that `pin` names. */
async function pinned(
  file: string,
  source: URL | CheckedSource,
  pin: NonNullable<ModuleSources['pin']>,
  manifest: () => Promise<Manifest>,
): Promise<WebAssembly.Module> {
  const wanted = pin === 'own' ? (await manifest()).files.find(({ name }) => name === file)?.sha256 : pin[file];
  if (wanted === undefined) {
    throw new FedraError(
      'wasm-hash-mismatch',
      `pin names no hash of ${file}, so it is not run: add its SHA-256 from fedra/wasm/manifest.json`,
    );
  }
  const bytes = source instanceof Uint8Array ? source : await fetched(source as URL | string);
  const hash = await sha256(bytes);
  if (hash === undefined) {
    throw new Error('pin needs crypto.subtle, which pages over https and on localhost have');
  }
  if (hash !== wanted) {
    throw new FedraError(
      'wasm-hash-mismatch',
      `${source instanceof Uint8Array ? file : String(source)} has the SHA-256 ${hash}, and pin names ${wanted}: ` +
        `serve the ${file} of the version that the page imports, or name the other hash if the change was meant`,
    );
  }
  return WebAssembly.compile(bytes);
}

async function ownManifest(): Promise<Manifest> {
  const { default: manifest } = await import('../wasm/manifest.js');
  return manifest;
}

async function fetched(address: URL | string): Promise<Uint8Array<ArrayBuffer>> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}
