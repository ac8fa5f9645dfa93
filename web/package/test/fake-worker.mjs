// A worker that records the messages to it and posts those of a test.

export class FakeWorker {
  static all = [];
  /** A worker's answers to `start` or `load`, in order; none means silence. */
  static onStart = [{ type: 'started' }];

  sent = [];
  terminated = false;

  constructor(url, options) {
    this.url = url;
    this.options = options;
    FakeWorker.all.push(this);
  }

  postMessage(message, transfer = []) {
    // A transferred buffer is gone on this side, as in a browser.
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
