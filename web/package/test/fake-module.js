// Stands in for the WebAssembly module in a real thread: each data set is a round, which is
// counted before its update and keeps one more unsent. `predict` of 666 crashes the thread.
export default async ({ module_or_path }) => {
  const wasm = await module_or_path;
  if (!(wasm instanceof WebAssembly.Module))
    await WebAssembly.compileStreaming(
      wasm instanceof URL ? fetch(wasm) : new Response(wasm, { headers: { 'content-type': 'application/wasm' } }),
    );
};

export class Predictor {
  inputShape = Uint32Array.of(1);
  outputs = 1;
  async predict(features) {
    return features.map((value) => -value);
  }
}

export class EdgeClient {
  #end;

  constructor(options, tell, record, residual) {
    Object.assign(this, { options, tell, record, residual, rounds: options.privacy.participations ?? 0 });
  }

  async run() {
    const { task, backend } = this.options;
    this.tell({ type: 'backend', backend, reason: typeof WebSocket });
    const policy = task === 'private' ? 'distributed' : 'none';
    this.tell({ type: 'privacy', policy, participations: this.rounds, spentEpsilon: this.rounds });
    this.#connect();
    await new Promise((resolve) => (this.#end = resolve));
  }

  /** Uses a socket as the module does. */
  #connect() {
    const socket = new WebSocket(this.options.url);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(Uint8Array.of(1, 2, 3));
    socket.onmessage = ({ data }) => {
      const bytesDown = data instanceof ArrayBuffer ? data.byteLength : 0;
      this.tell({ type: 'traffic', bytesUp: 3 - socket.bufferedAmount, bytesDown });
      socket.close(4000);
    };
    socket.onclose = ({ code }) => this.tell({ type: 'status', state: 'reconnecting', retryInMs: code });
  }

  async setDataset() {
    const unsent = (await this.residual.load())?.[0] ?? 0;
    await this.residual.keep(Uint8Array.of(unsent + 1));
    this.tell({ type: 'evaluation', round: 1, examples: unsent, loss: 0 });
    try {
      await this.record(this.rounds + 1);
      this.rounds += 1;
      this.tell({ type: 'status', state: 'uploading', round: this.rounds });
      this.tell({ type: 'traffic', bytesUp: 100 * this.rounds, bytesDown: 0 });
      this.tell({ type: 'update', round: this.rounds, outcome: 'accepted' });
    } catch ({ message }) {
      this.tell({ type: 'error', code: 'participation-not-kept', message, fatal: false });
    }
  }

  async dataDescription() {
    return [undefined, Uint32Array.of(1), 0, 1];
  }

  async setRead() {}

  async predict(features) {
    if (features[0] === 666) {
      setTimeout(() => {
        throw new WebAssembly.RuntimeError('unreachable');
      });
      await new Promise(() => {});
    }
    return features;
  }

  pause() {}

  resume() {}

  consent() {
    this.tell({ type: 'status', state: 'training', round: 1 });
  }

  close() {
    this.#end();
  }
}

export class DataReader {
  examples = 0;
  #bytes = 0;
  open() {}
  push(bytes) {
    this.#bytes += bytes.length;
  }
  close() {}
  arrays() {
    return { features: Float32Array.of(this.#bytes), labels: Float32Array.of(0), shape: Uint32Array.of(1, 1) };
  }
}

export function __wbg_reset_state() {}
