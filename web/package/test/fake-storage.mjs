// A localStorage for tests, one that refuses where told to.

export class FakeStorage {
  entries = new Map();
  /** The name of the exception that every access throws. */
  refuses;

  getItem(key) {
    this.#check();
    return this.entries.get(key) ?? null;
  }

  setItem(key, value) {
    this.#check();
    this.entries.set(key, String(value));
  }

  #check() {
    if (this.refuses) throw new DOMException('no storage here', this.refuses);
  }

  /** Puts a new one in the place of the browser's; returns it and an undo function. */
  static install() {
    const before = Object.getOwnPropertyDescriptor(globalThis, 'localStorage');
    const storage = new FakeStorage();
    Object.defineProperty(globalThis, 'localStorage', { configurable: true, value: storage });
    const restore = () => {
      delete globalThis.localStorage;
      if (before) Object.defineProperty(globalThis, 'localStorage', before);
    };
    return { storage, restore };
  }
}
