/** The worker of Node.js: what a browser's worker has and a thread of Node.js lacks, and then the same service. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { wordsOf } from './errors.js';
import type { FromWorker, ToWorker } from './messages.js';
import { placesIn } from './node-stores.js';
import type { ThreadData } from './node-thread.js';
import { crashed, receive, serve } from './serve.js';

const port = parentPort;
if (!port) throw new Error('fedra/node starts this file in a thread');
const { storage, owner } = workerData as ThreadData;

// The WebAssembly lies in a file, and so may the data: Node.js fetches none.
const network = globalThis.fetch;
globalThis.fetch = (source, options) => {
  const address = source instanceof Request ? source.url : String(source);
  return address.startsWith('file:') ? fileAt(new URL(address)) : network(source, options);
};

async function fileAt(address: URL): Promise<Response> {
  const path = fileURLToPath(address);
  if (!(await stat(path)).isFile()) throw new Error('it is no file');
  const type = path.endsWith('.wasm') ? 'application/wasm' : 'application/octet-stream';
  return new Response(Readable.toWeb(createReadStream(path)) as ReadableStream, { headers: { 'content-type': type } });
}

/**
 * Sees to a WebSocket: Node.js before 22 has none, and takes that of the package ws. Resolves
 * with the problem if there is one.
 */
async function findWebSocket(): Promise<string | undefined> {
  if (typeof WebSocket !== 'undefined') {
    install(closing(WebSocket));
    return undefined;
  }
  try {
    const { WebSocket: Socket } = await import('ws');
    class Quiet extends Socket {
      constructor(url: string) {
        super(url);
        // The module listens to no errors: the close that follows is told. Without a listener the thread would end.
        this.on('error', () => {});
      }
    }
    install(Quiet);
    return undefined;
  } catch (cause) {
    return `this Node.js has no WebSocket (${wordsOf(cause)}): use Node.js 22 or later, or install the package ws`;
  }
}

/** The same socket, but an error is always followed by a close: Node.js 22 has none where no server answers. */
function closing(Socket: typeof WebSocket): unknown {
  return class extends Socket {
    constructor(url: string) {
      super(url);
      let isClosed = false;
      this.addEventListener('close', () => (isClosed = true));
      this.addEventListener('error', () =>
        setTimeout(() => {
          if (!isClosed) this.dispatchEvent(Object.assign(new Event('close'), { code: 1006, reason: '' }));
        }),
      );
    }
  };
}

function install(Socket: unknown): void {
  Object.defineProperty(globalThis, 'WebSocket', { configurable: true, value: Socket });
}

const post = (message: FromWorker, transfer: Transferable[] = []) => port.postMessage(message, transfer as ArrayBuffer[]);
const problem = await findWebSocket();
serve({ post, scope: undefined, residuals: placesIn(storage, owner).residuals });
port.on('message', (message: ToWorker) => {
  if (message.type === 'start' && problem !== undefined) post({ type: 'failed', code: 'worker-failed', message: problem });
  else void receive(message);
});
process.on('unhandledRejection', crashed);
