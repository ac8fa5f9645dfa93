/** Loads the WebAssembly module. It must not know a page's use of it. */
import { FedraError, wordsOf } from './errors.js';
import type { ClientEvent, ModuleOptions } from './generated/contract.js';
import type { PolicyWatch } from './policy.js';
import type { Layout } from './validate.js';

/** The client inside the module. Its run ends after `close`. */
export interface EdgeClient {
  run(): Promise<void>;
  /** Settles when the task is known, and with it whether the data fit. */
  setDataset(features: Float32Array, labels: Float32Array, shape: Uint32Array, layout: Layout): Promise<void>;
  /** Gives up data that wait for the task. */
  withdrawDataset(): void;
  consent(): void;
  pause(): void;
  resume(): void;
  close(): void;
  predict(features: Float32Array): Promise<Float32Array>;
}

/** A model without a session. */
export interface Predictor {
  readonly inputShape: Uint32Array;
  readonly outputs: number;
  predict(features: Float32Array): Promise<Float32Array>;
}

/** Exports of the module. */
export interface WasmModule {
  default(): Promise<unknown>;
  Predictor: new (file: Uint8Array) => Predictor;
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
