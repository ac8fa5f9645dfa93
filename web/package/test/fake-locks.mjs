// Web locks for tests, of one name at a time and exclusive.

export class FakeLocks {
  #queues = new Map();

  request(name, { ifAvailable = false, signal }, hold) {
    const queue = this.#queues.get(name) ?? [];
    this.#queues.set(name, queue);
    if (ifAvailable && queue.length > 0) return Promise.resolve().then(() => hold(null));
    return new Promise((resolve, reject) => {
      const waiting = {
        begin: () =>
          Promise.resolve()
            .then(() => hold({ name }))
            .then(resolve, reject)
            .finally(() => this.#next(name)),
      };
      queue.push(waiting);
      signal?.addEventListener('abort', () => {
        // The one that holds the lock ends by itself.
        const at = queue.indexOf(waiting);
        if (at > 0) queue.splice(at, 1);
        reject(signal.reason);
      });
      if (queue.length === 1) waiting.begin();
    });
  }

  async query() {
    return { pending: [...this.#queues].flatMap(([name, queue]) => queue.slice(1).map(() => ({ name }))) };
  }

  #next(name) {
    const queue = this.#queues.get(name);
    queue.shift();
    queue[0]?.begin();
  }
}

/** Puts parts in the place of those of the browser's navigator; returns an undo function. */
export function installNavigator(parts) {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: parts });
  return () => {
    delete globalThis.navigator;
    if (before) Object.defineProperty(globalThis, 'navigator', before);
  };
}
