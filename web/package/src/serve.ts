/**
 * The worker's side of a client, or of a model without one: holds what the
 * WebAssembly module made and passes messages between it and the page. It must
 * not know a page's use of them, nor which kind of thread it is in.
 */

import { checkFinite, coded } from './answers.js';
import type { FedraErrorCode } from './errors.js';
import { FedraError } from './errors.js';
import type { InnerEvent } from './events.js';
import { readFiles } from './files.js';
import type { Personalization } from './generated/contract.js';
import type { ClientConfig, FromWorker, ModelFiles, ToWorker } from './messages.js';
import type { DataDescription, EdgeClient, Predictor } from './module.js';
import { loadModule, loadReaders, releasing } from './module.js';
import type { Violation } from './policy.js';
import { PolicyWatch, policyWords } from './policy.js';
import { ResidualEntry } from './residual.js';
import type { ModuleSources } from './sources.js';
import type { OwnedBytes } from './stores.js';
import type { ReadData } from './validate.js';

/** The thread that serves one page. */
export interface Thread {
  /** Posts a message to the page. */
  post(message: FromWorker, transfer: Transferable[]): void;
  /** Tells of violations of a policy, where there are policies. */
  readonly scope: EventTarget | undefined;
  /** Parts of updates that have not been sent. */
  readonly residuals: OwnedBytes;
}

let thread: Thread;
let policy: PolicyWatch;

/** WebAssembly of the page's choice. */
let modules: ModuleSources | undefined;
let client: EdgeClient | undefined;
/** The client or model that answers `predict`. */
let model: Pick<EdgeClient | Predictor, 'predict'> | undefined;
/** The request that gave the newest data set. */
let newest: number | undefined;
/** Aborts the reading of the newest files. */
let reading: AbortController | undefined;
/** Readings for the page, by their requests. */
const reads = new Map<number, AbortController>();
/** The aggregator's host, once the client connects to it. */
let aggregator: string | undefined;
/** Questions that the page has not answered yet. */
const questions = new Map<number, { resolve(token: string): void; reject(error: Error): void }>();
let nextQuestion = 1;
/** Settles when the client is there, or cannot be: everything else waits for it. */
let ready: Promise<void> | undefined;

/** Serves the page that `of` belongs to. */
export function serve(of: Thread): void {
  thread = of;
  policy = new PolicyWatch(of.scope, blocked);
}

/** Tells of a crash of the module outside any call of ours; the page decides what next. */
export function crashed(reason: unknown): void {
  post({ type: 'failed', ...coded(reason, 'worker-failed') });
}

/** Takes a message of the page. */
export async function receive(message: ToWorker): Promise<void> {
  if (message.type === 'start') {
    modules = message.modules;
    ready = start(message.config);
    return;
  }
  if (message.type === 'load') {
    modules = message.modules;
    ready = load(message);
    return;
  }
  if (isAnswer(message)) {
    takeAnswer(message);
    return;
  }
  await ready;
  switch (message.type) {
    case 'dataset':
      await answer(message.id, 'bad-dataset', client, (running) => {
        checkFinite('features', message.features);
        checkFinite('labels', message.labels);
        supersede(message.id);
        return running.setDataset(message.features, message.labels, message.shape, message.layout);
      });
      break;
    case 'files':
      await answer(message.id, 'bad-dataset', client, (running) => read(running, message));
      break;
    case 'read':
      await answer(message.id, 'bad-dataset', client, (running) => readForPage(running, message));
      break;
    case 'withdraw':
      reads.get(message.id)?.abort(new FedraError('aborted', 'the reading was given up'));
      if (message.id !== newest) break;
      reading?.abort(new FedraError('aborted', 'the data were taken back'));
      client?.withdrawDataset();
      break;
    case 'predict':
      await answer(message.id, 'bad-input', model, (running) => {
        checkFinite('features', message.features);
        return message.personal && client ? client.predictPersonal(message.features) : running.predict(message.features);
      });
      break;
    case 'personalize':
      await answer(message.id, 'training-failed', client, (running) =>
        running.personalize(message.epochs, message.batchSize, message.learningRate),
      );
      break;
    case 'consent':
      client?.consent();
      break;
    case 'pause':
      client?.pause();
      break;
    case 'resume':
      client?.resume();
      break;
    case 'close':
      client?.close();
      break;
  }
}

async function start({ token, ...options }: ClientConfig): Promise<void> {
  try {
    const module = await loadModule(policy, modules);
    const residual = new ResidualEntry(options.url, options.task, thread.residuals);
    client = new module.EdgeClient(options, report, record, residual, token === 'ask' ? askToken : undefined);
    model = client;
    aggregator = new URL(options.url).host;
    post({ type: 'started' });
    void run(client);
  } catch (error) {
    post({ type: 'failed', ...coded(error, 'worker-failed') });
  }
}

/** Notes the request that gives the newest data, and ends the reading of earlier ones. */
function supersede(id: number): void {
  newest = id;
  reading?.abort(new FedraError('aborted', 'other data were given before these were read'));
  reading = undefined;
}

/** Reads files, and gives them to the client. */
async function read(running: EdgeClient, message: Extract<ToWorker, { type: 'files' }>): Promise<void> {
  supersede(message.id);
  const { signal } = (reading = new AbortController());
  const [{ features, labels, shape }, description] = await dataOf(running, message, signal);
  await running.setRead(features, new Float32Array(labels), shape, description);
}

/** Reads files for the page. */
async function readForPage(running: EdgeClient, message: Extract<ToWorker, { type: 'read' }>): Promise<ReadData> {
  const controller = new AbortController();
  reads.set(message.id, controller);
  try {
    const [data] = await dataOf(running, message, controller.signal);
    return data;
  } finally {
    reads.delete(message.id);
  }
}

/** The examples of all files, once the task has said what they are, and the description by which they were read. */
async function dataOf(
  running: EdgeClient,
  message: Extract<ToWorker, { type: 'files' | 'read' }>,
  signal: AbortSignal,
): Promise<readonly [data: ReadData, description: DataDescription[0]]> {
  const given = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as FedraError), { once: true });
  });
  const [readers, task] = await Promise.race([Promise.all([loadReaders(policy, modules), running.dataDescription()]), given]);
  return releasing(readers, async () => {
    const reader = new readers.DataReader(...task, message.options);
    await readFiles(reader, message, signal, (progress) => post({ type: 'reading', id: message.id, ...progress }));
    signal.throwIfAborted();
    return [reader.arrays(), task[0]] as const;
  });
}

async function load({ file, frozen }: ModelFiles): Promise<void> {
  try {
    const { Predictor } = await loadModule(policy, modules);
    const loaded = new Predictor(file, frozen);
    model = loaded;
    post({ type: 'loaded', inputShape: [...loaded.inputShape], outputs: loaded.outputs });
  } catch (error) {
    post({ type: 'failed', ...coded(error, 'bad-model') });
  }
}

/** Ends a client whose page's policy blocks the aggregator, because the policy will not change. */
function blocked(violation: Violation): void {
  const [, , host] = violation.blockedURI.split('/');
  if (!client || host !== aggregator) return;
  const message = `the aggregator at ${aggregator} cannot be reached: ${policyWords(violation)}`;
  report({ type: 'error', code: 'blocked-by-policy', message, fatal: true });
  client.close();
}

/** Asks the page for the token of the next connection. */
function askToken(): Promise<string> {
  return ask((id) => ({ type: 'ask-token', id }));
}

/** Has the page store the count of rounds; an update waits for it. */
async function record(participations: number): Promise<void> {
  await ask((id) => ({ type: 'record', id, participations }));
}

function ask(question: (id: number) => FromWorker): Promise<string> {
  const id = nextQuestion++;
  return new Promise((resolve, reject) => {
    questions.set(id, { resolve, reject });
    post(question(id));
  });
}

/** The page's answer to a question. */
type Answer = Extract<ToWorker, { type: 'token' | 'no-token' | 'recorded' | 'not-recorded' }>;

function isAnswer(message: ToWorker): message is Answer {
  return ['token', 'no-token', 'recorded', 'not-recorded'].includes(message.type);
}

function takeAnswer(answer: Answer): void {
  const asked = questions.get(answer.id);
  questions.delete(answer.id);
  if (answer.type === 'token') asked?.resolve(answer.token);
  else if (answer.type === 'recorded') asked?.resolve('');
  else asked?.reject(new Error(answer.message));
}

async function run(running: EdgeClient): Promise<void> {
  try {
    await running.run();
  } catch (error) {
    report({ type: 'error', ...coded(error, 'worker-failed'), fatal: true });
  }
  post({ type: 'closed' });
}

/** Runs one request of the page and posts its result or its fault. */
async function answer<On>(
  id: number,
  defaultCode: FedraErrorCode,
  on: On | undefined,
  work: (on: On) => Promise<Float32Array | ReadData | Personalization | void>,
): Promise<void> {
  try {
    if (!on) throw new FedraError('worker-failed', 'the module has not started');
    const result = await work(on);
    if (result instanceof Float32Array) {
      post({ type: 'done', id, probabilities: result }, [result.buffer as ArrayBuffer]);
    } else if (result && 'personal' in result) {
      post({ type: 'done', id, personalization: result });
    } else if (result) {
      post({ type: 'done', id, data: result }, [result.features.buffer as ArrayBuffer, result.labels.buffer as ArrayBuffer]);
    } else {
      post({ type: 'done', id });
    }
  } catch (error) {
    // The module's state is unknown after that.
    if (error instanceof WebAssembly.RuntimeError) post({ type: 'failed', ...coded(error, 'worker-failed') });
    else post({ type: 'refused', id, ...coded(error, defaultCode) });
  }
}

function report(event: InnerEvent): void {
  post({ type: 'event', event });
}

function post(message: FromWorker, transfer: Transferable[] = []): void {
  thread.post(message, transfer);
}
