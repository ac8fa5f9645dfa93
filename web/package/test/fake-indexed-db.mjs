// An IndexedDB for tests: one store without keys of its own in each database.

export class FakeIndexedDb {
  #stores = new Map();
  #last = Promise.resolve();
  /** The name of the exception that opening fails with. */
  refuses;
  /** The name of the exception that a transaction which writes is aborted with. */
  aborts;
  /** The name of the exception that a transaction which adds something is aborted with. */
  isFull;
  /** Databases that are open. */
  opened = 0;

  /** The entries of a database. */
  of(name) {
    if (!this.#stores.has(name)) this.#stores.set(name, new Map());
    return this.#stores.get(name);
  }

  /** Entries of the files that are kept. */
  get entries() {
    return this.of('fedra');
  }

  open(name) {
    const request = {};
    setImmediate(() => {
      if (this.refuses) {
        request.error = new DOMException('no storage here', this.refuses);
        return request.onerror();
      }
      this.opened++;
      request.result = this.#database(this.of(name));
      request.onupgradeneeded();
      request.onsuccess();
    });
    return request;
  }

  #database(entries) {
    return {
      createObjectStore: () => {},
      transaction: (_, mode) => this.#transaction(entries, mode),
      close: () => this.opened--,
    };
  }

  #transaction(entries, mode) {
    const transaction = { error: null };
    let open = 0;
    // One transaction after the other.
    const before = this.#last;
    let end;
    this.#last = new Promise((resolve) => (end = resolve));
    const settle = (request, change, adds) => {
      const abort = (mode === 'readwrite' && this.aborts) || (adds && this.isFull);
      if (abort) {
        transaction.error = new DOMException('the transaction was aborted', abort);
        end();
        return transaction.onabort();
      }
      request.result = change();
      request.onsuccess?.();
      if (--open > 0) return;
      end();
      transaction.oncomplete();
    };
    const run = (change, adds = false) => {
      const request = { error: null };
      open++;
      void before.then(() => setImmediate(() => settle(request, change, adds)));
      return request;
    };
    transaction.objectStore = () => ({
      get: (key) => run(() => entries.get(key)),
      put: (value, key) => run(() => void entries.set(key, value), true),
      delete: (key) => run(() => void entries.delete(key)),
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
