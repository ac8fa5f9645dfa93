// An IndexedDB for tests: one store without keys of its own, a transaction a request.

export class FakeIndexedDb {
  entries = new Map();
  /** The name of the exception that opening fails with. */
  refuses;
  /** The name of the exception that a transaction which writes is aborted with. */
  aborts;
  /** Databases that are open. */
  opened = 0;

  open() {
    const request = {};
    setImmediate(() => {
      if (this.refuses) {
        request.error = new DOMException('no storage here', this.refuses);
        return request.onerror();
      }
      this.opened++;
      request.result = this.#database();
      request.onupgradeneeded();
      request.onsuccess();
    });
    return request;
  }

  #database() {
    return {
      createObjectStore: () => {},
      transaction: (_, mode) => this.#transaction(mode),
      close: () => this.opened--,
    };
  }

  #transaction(mode) {
    const transaction = { error: null };
    const run = (change) => {
      const request = { error: null };
      setImmediate(() => {
        if (mode === 'readwrite' && this.aborts) {
          transaction.error = new DOMException('the transaction was aborted', this.aborts);
          return transaction.onabort();
        }
        request.result = change();
        transaction.oncomplete();
      });
      return request;
    };
    transaction.objectStore = () => ({
      get: (key) => run(() => this.entries.get(key)),
      put: (value, key) => run(() => void this.entries.set(key, value)),
      delete: (key) => run(() => void this.entries.delete(key)),
    });
    return transaction;
  }

  /** Puts a new one in the place of the browser's; returns it and an undo function. */
  static install() {
    const storage = new FakeIndexedDb();
    globalThis.indexedDB = storage;
    return { storage, restore: () => delete globalThis.indexedDB };
  }
}
