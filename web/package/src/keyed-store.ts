/** One store of values by key in an IndexedDB of its own. It must not know what the values are. */
import type { Changing } from './stores.js';

export class KeyedStore<Value> implements Changing<Value> {
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

  /** Replaces a value by the one that `change` makes of it. No other transaction comes between. */
  change(key: string, change: (before: Value | undefined) => Value): Promise<void> {
    return this.#run('readwrite', (store) => {
      const request = store.get(key) as IDBRequest<Value | undefined>;
      request.onsuccess = () => store.put(change(request.result), key);
      return () => undefined;
    });
  }

  /** Runs one request in a transaction of its own. */
  #transact<Result>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<Result>): Promise<Result> {
    return this.#run(mode, (store) => {
      const request = act(store);
      return () => request.result;
    });
  }

  /** Runs a transaction. Resolves once what it has changed is on the disk. */
  async #run<Result>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => () => Result): Promise<Result> {
    const database = await this.#opened();
    try {
      return await new Promise<Result>((resolve, reject) => {
        const transaction = database.transaction(this.#store, mode, { durability: 'strict' });
        const result = act(transaction.objectStore(this.#store));
        transaction.oncomplete = () => resolve(result());
        transaction.onabort = () => reject(transaction.error);
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
