// A worker that only records what it is sent and says what a test tells it to.

export class FakeWorker {
  static all = [];
  /** What a worker answers to `start` or `load`, in order; none means silence. */
  static onStart = [{ type: 'started' }];

  sent = [];
  terminated = false;

  constructor(url, options) {
    this.url = url;
    this.options = options;
    FakeWorker.all.push(this);
  }

  postMessage(message, transfer = []) {
    // As in a browser: what is transferred is gone on this side.
    this.sent.push(structuredClone(message, { transfer }));
    if (message.type === 'start' || message.type === 'load') {
      for (const answer of FakeWorker.onStart) this.say(answer);
    }
  }

  say(message) {
    this.onmessage?.({ data: structuredClone(message) });
  }

  terminate() {
    this.terminated = true;
  }

  static get last() {
    return FakeWorker.all.at(-1);
  }

  /** Puts the class in the place of the browser's; returns an undo function. */
  static install(onStart = [{ type: 'started' }]) {
    FakeWorker.all = [];
    FakeWorker.onStart = onStart;
    globalThis.Worker = FakeWorker;
    return () => delete globalThis.Worker;
  }
}
