/**
 * The page's copy of the data that a client trains on: a worker that takes its
 * place after a crash is given them again, and files are read again when the task
 * describes its data anew. It must not be asked during a round.
 */
import type { ToWorker } from './messages.js';
import type { CheckedDataset, Features } from './validate.js';

/** Message that gives a data set, as arrays or as files. */
export type GivenData = Extract<ToWorker, { type: 'dataset' | 'files' }>;

export class GivenSets {
  /** The data set that the worker has taken. */
  #taken: GivenData | undefined;
  /** Data sets without an answer. */
  #open: GivenData[] = [];

  get taken(): GivenData | undefined {
    return this.#taken;
  }

  /** True while the worker has a data set to answer. */
  get isWaiting(): boolean {
    return this.#open.length > 0;
  }

  /** Data sets to give to a new worker, in this order. */
  get all(): readonly GivenData[] {
    return this.#taken ? [this.#taken, ...this.#open] : this.#open;
  }

  give(data: GivenData): void {
    this.#open.push(data);
  }

  /** Notes the worker's answer. A data set that is taken replaces all earlier ones; a refused one is dropped. */
  answered(id: number, isTaken: boolean): void {
    const at = this.#open.findIndex((data) => data.id === id);
    if (at < 0) return;
    if (isTaken) this.#taken = this.#open[at];
    this.#open.splice(isTaken ? 0 : at, isTaken ? at + 1 : 1);
  }

  clear(): void {
    this.#taken = undefined;
    this.#open = [];
  }
}

/** An own copy of each array. */
export function copied({ features, labels, shape, layout }: CheckedDataset): CheckedDataset {
  return { features: features.slice(), labels: labels.slice(), shape, layout };
}

/** The arrays themselves where each fills a buffer that can be taken over: the page's are empty afterwards. */
export function takenOver({ features, labels, shape, layout }: CheckedDataset): CheckedDataset {
  const own = { features: alone(features), labels: alone(labels) };
  const transfer = new Set([own.features.buffer as ArrayBuffer, own.labels.buffer as ArrayBuffer]);
  return { ...structuredClone(own, { transfer: [...transfer] }), shape, layout };
}

function alone<Values extends Features>(values: Values): Values {
  const { buffer } = values;
  const whole = buffer instanceof ArrayBuffer && buffer.byteLength === values.byteLength;
  return whole ? values : (values.slice() as Values);
}
