/** Options of the client's calls, as a page gives them. Types only: this file must produce no code. */
import type { BackendChoice } from './events.js';
import type { PauseOptions } from './pauses.js';
import type { Pin, WasmSource, WasmSources } from './sources.js';
import type { WorkerSource } from './spawn.js';
import type { TabChoice } from './tabs.js';
import type { TokenSource } from './token.js';
import type { Layout, PrivacyOptions, Reading } from './validate.js';

/** Options of {@link FedraClient.connect}. */
export interface ConnectOptions {
  /**
   * The aggregator, for example `wss://example.org/v1/connect` or `https://example.org`.
   * A page that came over https reaches `ws://` and `http://` on this machine only.
   */
  readonly url: string | URL;
  /** The id of the task to take part in. */
  readonly task: string;
  /** Default `auto`: begin on the CPU, and change over to WebGPU if it is found faster. */
  readonly backend?: BackendChoice;
  /** Aborts connecting; after that, closes the client. */
  readonly signal?: AbortSignal;
  /** Least promise of the task, and the person's consent. */
  readonly privacy?: PrivacyOptions;
  /**
   * For tasks that are not open: a token from the site's server, or a function
   * that fetches one. It is called before every connection; if it fails, it is
   * called again later.
   */
  readonly token?: TokenSource;
  /**
   * A worker in place of the package's own, where a bundler or a policy does not let
   * the browser find that one. A script of another origin is imported by a small
   * worker that the package makes (a `blob:`).
   */
  readonly worker?: WorkerSource;
  /**
   * WebAssembly in place of the package's own: the address, the bytes or the compiled module
   * of the client, or `{ client, reader }` of both. A relative address begins from the page's.
   */
  readonly wasm?: WasmSource | WasmSources;
  /**
   * Hashes of the modules that may run: `true` for those of the package's own, or by name, in
   * hexadecimal digits or as `sha256-…`. Another module is `wasm-hash-mismatch`.
   */
  readonly pin?: Pin;
  /**
   * Default `each`: every tab that connects takes part. With `one` a single tab of this
   * browser does, and the others show its events until one of them takes its place.
   */
  readonly tabs?: TabChoice;
  /** Rules by which the client rests on its own. */
  readonly pauses?: PauseOptions;
}

/** Options of {@link FedraClient.train}. */
export interface TrainOptions {
  /** Take the arrays' buffers over instead of copying them. They are empty afterwards. */
  readonly transfer?: boolean;
  /** Default `channels-first`. With `channels-last` images are transposed as they are taken. */
  readonly layout?: Layout;
  /** Longest wait for the task, in milliseconds. Default 30,000; `Infinity` waits for ever. */
  readonly timeout?: number;
  /** Gives the data up, unless they have been taken. */
  readonly signal?: AbortSignal;
  /** Delimiter of CSV files, one character. Default: the one that the header shows. */
  readonly delimiter?: string;
  /** Decimal sign of the numbers in CSV files. Default `.`. */
  readonly decimal?: '.' | ',';
  /** Of files keep at most this many examples, each with the same chance. */
  readonly maxExamples?: number;
  /** Seed of that choice, a whole number. Default 0. */
  readonly seed?: number;
  /** Is called while files are read. */
  readonly onReading?: (progress: Reading) => void;
}

/** Options of {@link FedraClient.read}. */
export type ReadOptions = Omit<TrainOptions, 'transfer' | 'layout'>;

/** Options of {@link FedraClient.trainKept}: those of the files were kept with them. */
export type TrainKeptOptions = Pick<TrainOptions, 'timeout' | 'signal' | 'onReading'>;

/** Options of {@link FedraClient.load}. */
export interface LoadOptions {
  /** The aggregator, as for `connect`. */
  readonly url: string | URL;
  /** The id of the task: open, paused, stopped or finished. */
  readonly task: string;
  /** Aborts loading; after that, closes the model. */
  readonly signal?: AbortSignal;
  /** A worker in place of the package's own, as for `connect`. */
  readonly worker?: WorkerSource;
  /** WebAssembly in place of the package's own, as for `connect`. */
  readonly wasm?: WasmSource | WasmSources;
  /** Hashes of the modules that may run, as for `connect`. */
  readonly pin?: Pin;
}

/** Options of {@link FedraClient.predict}. */
export interface PredictOptions {
  /** Default `global`: the newest global model. `personal` is the one that `personalize` has made. */
  readonly model?: 'global' | 'personal';
  /** Ends the wait for the answer. */
  readonly signal?: AbortSignal;
}

/** Options of {@link FedraClient.personalize}. */
export interface PersonalizeOptions {
  /** Passes over the examples, 1 to 1000; default 5. */
  readonly epochs?: number;
  /** Examples a step, 1 to 65536; default 10. */
  readonly batchSize?: number;
  /** Step size, above 0; default 0.05. */
  readonly learningRate?: number;
  /** Ends the wait. The training goes on, and its model takes the place of an earlier one. */
  readonly signal?: AbortSignal;
}

/** Options of {@link FedraClient.rounds}, and of {@link Model.predict}. */
export interface WaitOptions {
  /** Ends the wait with `aborted`. */
  readonly signal?: AbortSignal;
}
