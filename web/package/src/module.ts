/** Loads the WebAssembly module. It must not know a page's use of it. */
import { FedraError, wordsOf } from './errors.js';
import type { ClientEvent, ModuleOptions } from './generated/contract.js';
import type { PolicyWatch } from './policy.js';
import type { Features, Layout, ReadData, ReadingOptions } from './validate.js';

/** The client inside the module. Its run ends after `close`. */
export interface EdgeClient {
  run(): Promise<void>;
  /** Settles when the task is known, and with it whether the data fit. */
  setDataset(features: Features, labels: Float32Array, shape: Uint32Array, layout: Layout): Promise<void>;
  /** Settles once the task is known, and with it what its data are. */
  dataReader(options: ReadingOptions): Promise<DataReader>;
  /** Gives up data that wait for the task. */
  withdrawDataset(): void;
  consent(): void;
  pause(): void;
  resume(): void;
  close(): void;
  predict(features: Features): Promise<Float32Array>;
}

/** Reader of one data set, file by file. A mistake ends it. */
export interface DataReader {
  readonly kind: string;
  readonly examples: number;
  open(name: string, isLabels: boolean): void;
  push(bytes: Uint8Array): void;
  close(): void;
  picture(name: string, width: number, height: number, rgba: Uint8Array, label: string): void;
  /** The data set, which is not given to the client. */
  arrays(): ReadData;
  /** Gives the data set to the client, and settles as `setDataset` does. */
  finish(): Promise<void>;
  /** Gives its memory back. */
  free(): void;
}

/** A model without a session. */
export interface Predictor {
  readonly inputShape: Uint32Array;
  readonly outputs: number;
  predict(features: Features): Promise<Float32Array>;
}

/** Exports of the module. */
export interface WasmModule {
  default(): Promise<unknown>;
  Predictor: new (file: Uint8Array, frozen?: Uint8Array) => Predictor;
  EdgeClient: new (
    options: ModuleOptions,
    onEvent: (event: ClientEvent) => void,
    /** Resolves once the count of rounds is stored: an update of a private round waits for it. */
    record: (participations: number) => Promise<void>,
    askToken?: () => Promise<string>,
  ) => EdgeClient;
}

/** The module, ready for use. */
export async function loadModule(policy: PolicyWatch): Promise<WasmModule> {
  try {
    const module: WasmModule = await import('../wasm/fedra.js');
    await module.default();
    return module;
  } catch (cause) {
    // A violation may be told after the error that it causes.
    await new Promise((resolve) => setTimeout(resolve));
    const message = `the WebAssembly module beside ${import.meta.url} could not be loaded: ${wordsOf(cause)}`;
    throw new FedraError('wasm-load-failed', policy.explain(message), { cause });
  }
}
