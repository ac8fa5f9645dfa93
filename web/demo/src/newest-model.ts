/**
 * The newest model of a task for a page that takes no part in it: loaded by itself, or of
 * a client that only observes, which can read files as the task describes them.
 */
import type { Features, Model } from 'fedra';
import { FedraClient, FedraError } from 'fedra';

/** One task's model at a time. Both ways are opened when they are first needed. */
export class NewestModel {
  readonly #url: string;
  #loaded: { readonly hash: string; readonly model: Promise<Model> } | undefined;
  #observer: { readonly task: string; readonly client: Promise<FedraClient> } | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  /** Outputs of the model of this hash, or of the observer's newest one. */
  async predict(task: string, hash: string, features: Features): Promise<Float32Array> {
    if (this.#observer?.task === task) return await (await this.observer(task)).predict(features);
    if (this.#loaded?.hash !== hash) {
      this.close();
      this.#loaded = { hash, model: FedraClient.load({ url: this.#url, task }) };
    }
    const loaded = this.#loaded;
    try {
      return await (await loaded.model).predict(features);
    } catch (error) {
      if (this.#loaded === loaded) this.#loaded = undefined;
      throw error;
    }
  }

  /** A client without data that has the task's newest model. */
  async observer(task: string): Promise<FedraClient> {
    if (this.#observer?.task !== task) {
      this.close();
      this.#observer = { task, client: this.#observe(task) };
    }
    const observer = this.#observer;
    try {
      return await observer.client;
    } catch (error) {
      if (this.#observer === observer) this.#observer = undefined;
      throw error;
    }
  }

  /** Closes what is open. */
  close(): void {
    const ignore = () => {};
    void this.#loaded?.model.then((model) => model.close(), ignore);
    void this.#observer?.client.then((client) => client.close(), ignore);
    this.#loaded = undefined;
    this.#observer = undefined;
  }

  async #observe(task: string): Promise<FedraClient> {
    const client = await FedraClient.connect({ url: this.#url, task, backend: 'cpu' });
    if (client.latest('model')) return client;
    return await new Promise((resolve, reject) => {
      client.addEventListener('model', () => resolve(client), { once: true });
      client.addEventListener('error', ({ detail: { code, message } }) => {
        void client.close();
        reject(new FedraError(code, message));
      });
    });
  }
}
