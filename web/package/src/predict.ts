/**
 * A task's model in the thread that imports this file: for service workers, which have no workers
 * of their own and cannot import what they need later. It must not be imported by others.
 */
import * as bindings from '../wasm/fedra.js';
import manifest from '../wasm/manifest.js';
import { checkFinite, coded } from './answers.js';
import { FedraError } from './errors.js';
import type { FromWorker, ToWorker } from './messages.js';
import { Model } from './model.js';
import type { Predictor } from './module.js';
import { loaded } from './module.js';
import type { LoadOptions as PageOptions } from './options.js';
import { watchPage } from './policy.js';
import { checkLoad } from './validate.js';

export type { FedraErrorCode, PackageCode } from './errors.js';
export { FedraError } from './errors.js';
export type { Model } from './model.js';
export type { WaitOptions } from './options.js';
export type { Pin, WasmSource, WasmSources } from './sources.js';
export type { Features } from './validate.js';

/** Options of {@link load}. */
export interface LoadOptions extends Omit<PageOptions, 'worker'> {}

/**
 * Fetches the newest model of a task, and predicts in this thread: it does nothing else during a
 * piece of a prediction. Rejects as `FedraClient.load` does, with `worker-failed` where a crash of
 * the module has left this thread without one.
 */
export async function load(options: LoadOptions): Promise<Model> {
  const base = globalThis.location?.href;
  if ('worker' in options) throw new FedraError('invalid-options', 'load of fedra/predict has no worker: it works in this thread');
  return Model.open(checkLoad({ ...options, worker: () => new SameThread() as unknown as Worker }, base));
}

/** Reason why the one instance of the module is of no use any more. */
let broken: string | undefined;

/** This thread in the form of a worker, as far as a model uses one. */
class SameThread {
  onmessage: ((event: { readonly data: FromWorker }) => void) | null = null;
  #model: Predictor | undefined;

  postMessage(message: ToWorker): void {
    // Not at once: an answer comes after the call, as a worker's does.
    queueMicrotask(() => {
      if (message.type === 'load') void this.#load(message);
      if (message.type === 'predict') void this.#predict(message);
    });
  }

  terminate(): void {
    this.onmessage = null;
    if (broken === undefined) this.#model?.free();
    this.#model = undefined;
  }

  async #load({ file, frozen, modules = {} }: Extract<ToWorker, { type: 'load' }>): Promise<void> {
    const policy = watchPage();
    try {
      if (broken !== undefined)
        throw new FedraError('worker-failed', `the module has crashed in this thread (${broken}): start the thread again`);
      const imports = { bindings: () => Promise.resolve(bindings), manifest: () => Promise.resolve(manifest) };
      const { Predictor } = await loaded(policy, 'client', modules, imports);
      const model = new Predictor(file, frozen);
      this.#model = model;
      this.#say({ type: 'loaded', inputShape: [...model.inputShape], outputs: model.outputs });
    } catch (error) {
      this.#say({ type: 'failed', ...coded(error, 'bad-model') });
    } finally {
      policy.end();
    }
  }

  async #predict({ id, features }: Extract<ToWorker, { type: 'predict' }>): Promise<void> {
    try {
      if (!this.#model) return;
      checkFinite('features', features);
      this.#say({ type: 'done', id, probabilities: await this.#model.predict(features) });
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) {
        broken = error.message;
        this.#say({ type: 'failed', code: 'worker-failed', message: error.message });
      } else {
        this.#say({ type: 'refused', id, ...coded(error, 'bad-input') });
      }
    }
  }

  #say(data: FromWorker): void {
    this.onmessage?.({ data });
  }
}
