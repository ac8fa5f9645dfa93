/**
 * Starts the worker from any origin's script, and waits until it is ready. It must
 * not know the later requests to the worker.
 */
import { aborted, FedraError, wordsOf } from './errors.js';
import type { FromWorker, ToWorker } from './messages.js';
import { own } from './own-worker.js';
import { watchPage } from './policy.js';

/**
 * The worker to use in place of the package's own: the address of a script
 * that is, or imports, `fedra/worker`; or a function that makes a new worker
 * of it each time it is called.
 */
export type WorkerSource = string | URL | (() => Worker);

/** Checks the option `worker`. */
export function checkWorkerSource(worker: unknown, page: string | undefined): WorkerSource | undefined {
  if (worker === undefined || typeof worker === 'function') return worker as WorkerSource | undefined;
  if (typeof worker === 'string' || worker instanceof URL) {
    try {
      return new URL(worker, page);
    } catch {
      // Said below.
    }
  }
  throw new FedraError('invalid-options', 'worker must be the address of a script, or a function that makes a Worker');
}

/** Throws if no worker can be made of this source. */
export function expectWorkers(source: WorkerSource | undefined): void {
  if (typeof source !== 'function' && typeof Worker === 'undefined') {
    throw new FedraError(
      'not-in-a-browser',
      'there is no Worker here: in Node.js import fedra/node; in a service worker, import load from fedra/predict',
    );
  }
}

/** A worker, and its name in errors. */
export interface Spawned {
  readonly worker: Worker;
  readonly name: string;
}

/** Makes the worker. A fault of its script shows in {@link started}. */
export function spawn(source: WorkerSource | undefined): Spawned {
  expectWorkers(source);
  if (typeof source === 'function') return { worker: made(source), name: 'the worker of the option worker' };
  let name = 'the worker';
  try {
    const address = String(source ?? addressOfOwn());
    name = `the worker ${address}`;
    if (isForeign(address)) return { worker: new Worker(relayTo(address), { type: 'module' }), name };
    return { worker: source === undefined ? own() : new Worker(address, { type: 'module' }), name };
  } catch (cause) {
    throw new FedraError('worker-failed', `the browser refused to start ${name}: ${wordsOf(cause)}`, { cause });
  }
}

/** The address that {@link own} loads, which only that call knows once a bundler has been there. */
function addressOfOwn(): string {
  const scope = globalThis as { Worker: unknown };
  const browsers = scope.Worker;
  let address = '';
  scope.Worker = class {
    constructor(url: URL) {
      address = String(url);
    }
  };
  try {
    own();
  } finally {
    scope.Worker = browsers;
  }
  return new URL(address, globalThis.location?.href).href;
}

function made(make: () => Worker): Worker {
  let worker: unknown;
  try {
    worker = make();
  } catch (cause) {
    throw new FedraError('worker-failed', `the option worker could not make a worker: ${wordsOf(cause)}`, { cause });
  }
  if (typeof (worker as Worker | undefined)?.postMessage === 'function') return worker as Worker;
  throw new FedraError('invalid-options', 'the function of the option worker must give a Worker');
}

/** True for another origin's script: the browser runs no worker from there, with CORS or without. */
function isForeign(address: string): boolean {
  const { protocol, origin } = new URL(address);
  return /^https?:$/.test(protocol) && origin !== globalThis.origin;
}

/** Relays by the address of what they import: one each, for as long as the page lasts. */
const relays = new Map<string, string>();

/**
 * A worker's script of the page's own origin that imports the one at `address`.
 * Messages posted meanwhile are passed on; a failed import is reported.
 */
function relayTo(address: string): string {
  const known = relays.get(address);
  if (known !== undefined) return known;
  const site = new URL(address).origin;
  const script = `
    const early = [];
    self.onmessage = ({ data }) => early.push(data);
    let directive = '';
    self.addEventListener('securitypolicyviolation', (event) => {
      if (event.disposition === 'enforce') directive ||= event.effectiveDirective.replace(/-elem$/, '');
    });
    const imported = () => early.forEach((data) => self.dispatchEvent(new MessageEvent('message', { data })));
    const failed = ({ message }) => setTimeout(() => self.postMessage({ type: 'failed', code: 'worker-failed', message:
      'the worker ' + ${JSON.stringify(address)} + ' could not be imported (' + message + '); ' + (directive
        ? 'the Content-Security-Policy of the page does not allow it: ' + directive + ' must have ' + ${JSON.stringify(site)}
        : 'it must be there, and be served as JavaScript and with CORS')
    }));
    import(${JSON.stringify(address)}).then(imported, failed);
  `;
  const relay = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
  relays.set(address, relay);
  return relay;
}

/** The message of a worker that is ready. */
export type Ready = Extract<FromWorker, { type: 'started' | 'loaded' }>;

/** Posts the first message; resolves with its answer, once the worker has loaded its module. */
export async function started({ worker, name }: Spawned, first: ToWorker, signal: AbortSignal | undefined): Promise<Ready> {
  const policy = watchPage();
  const settled = new AbortController();
  try {
    return await new Promise<Ready>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
        if (data.type === 'failed') reject(new FedraError(data.code, data.message));
        else if (data.type === 'started' || data.type === 'loaded') resolve(data);
      };
      worker.onerror = ({ message }) => {
        const what = message ? `${name} failed: ${message}` : `${name} could not be loaded`;
        const hint = 'it must be there, be served as JavaScript, and be allowed by a Content-Security-Policy in worker-src';
        // A violation may be told after the error that it causes.
        setTimeout(() => reject(new FedraError('worker-failed', policy.explain(what, message ? undefined : hint))));
      };
      signal?.addEventListener('abort', () => reject(aborted(signal)), { signal: settled.signal });
      worker.postMessage(first);
    });
  } finally {
    settled.abort();
    policy.end();
  }
}
