/** Options of a client's calls, as a page gives them. Types only: this file must produce no code. */
import type { BackendChoice } from './generated/contract.js';
import type { PauseOptions } from './pauses.js';
import type { WorkerSource } from './spawn.js';
import type { TabChoice } from './tabs.js';
import type { TokenSource } from './token.js';
import type { Layout, PrivacyOptions, Reading } from './validate.js';

/** Options of `FedraClient.connect`. */
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
   * Default `each`: every tab that connects takes part. With `one` a single tab of this
   * browser does, and the others show its events until one of them takes its place.
   */
  readonly tabs?: TabChoice;
  /** Rules by which the client rests on its own. */
  readonly pauses?: PauseOptions;
}

/** Options of `train`. */
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

/** Options of `read`. */
export type ReadOptions = Omit<TrainOptions, 'transfer' | 'layout'>;

/** Options of `trainKept`: those of the files were kept with them. */
export type TrainKeptOptions = Pick<TrainOptions, 'timeout' | 'signal' | 'onReading'>;
