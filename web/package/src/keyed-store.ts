/** One store of values by key in an IndexedDB of its own. It must not know what the values are. */
import type { Values } from './stores.js';

export class KeyedStore<Value> implements Values<Value> {
  readonly #database: string;
  readonly #store: string;

  constructor(database: string, store: string) {
    this.#database = database;
    this.#store = store;
  }

  get(key: string): Promise<Value | undefined> {
    return this.#transact('readonly', (store) => store.get(key) as IDBRequest<Value | undefined>);
  }

  async put(value: Value, key: string): Promise<void> {
    await this.#transact('readwrite', (store) => store.put(value, key));
  }

  delete(key: string): Promise<void> {
    return this.#transact('readwrite', (store) => store.delete(key));
  }

  /** Runs one request in a transaction of its own. Resolves once what it has changed is on the disk. */
  async #transact<Result>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<Result>): Promise<Result> {
    const database = await this.#opened();
    try {
      return await new Promise<Result>((resolve, reject) => {
        const transaction = database.transaction(this.#store, mode, { durability: 'strict' });
        const request = act(transaction.objectStore(this.#store));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(transaction.error ?? request.error);
      });
    } finally {
      database.close();
    }
  }

  #opened(): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(this.#database, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(this.#store);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }
}
