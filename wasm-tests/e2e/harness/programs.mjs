// The real aggregator and the real native clients, as child processes.

import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { get } from './https.mjs';
import { MNIST, needed, PAGE, program } from './paths.mjs';
import { until } from './until.mjs';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A child process with its output in a file. */
export class Program {
  constructor(path, args, log) {
    this.log = log;
    const output = openSync(log, 'a');
    this.child = spawn(path, args, { stdio: ['ignore', output, output] });
    running.add(this.child);
    this.ended = new Promise((resolve) => {
      this.child.on('exit', (code, signal) => {
        running.delete(this.child);
        resolve(signal ?? code);
      });
      this.child.on('error', (error) => {
        running.delete(this.child);
        appendFileSync(log, `${error}\n`);
        resolve(error);
      });
    });
  }

  get isRunning() {
    return running.has(this.child);
  }

  /** Ends it with `signal`; returns its exit code or the signal. */
  async end(signal = 'SIGTERM') {
    if (this.isRunning) this.child.kill(signal);
    return await this.ended;
  }

  /** All that it has written so far. */
  output() {
    return readFileSync(this.log, 'utf8');
  }

  lastLines() {
    return this.output().split('\n').slice(-30).join('\n');
  }
}

/** A folder for one test's files, removed by `removeFolder`. */
export function newFolder() {
  return mkdtempSync(join(tmpdir(), 'fedra-e2e-'));
}

export function removeFolder(folder) {
  rmSync(folder, { recursive: true, force: true });
}

/** An aggregator on a port of its own; it can be killed and started again. */
export class Aggregator {
  constructor(folder, port, task, tls) {
    this.folder = folder;
    this.port = port;
    this.task = task;
    this.tls = tls;
    this.config = join(folder, 'fedra.toml');
    writeFileSync(this.config, configuration(folder, port, task, tls));
  }

  /**
   * Starts one with the task's settings, once it is ready. With `{ certificate, key }`
   * it speaks TLS.
   */
  static async start(folder, task, tls) {
    const aggregator = new Aggregator(folder, await freePort(), task, tls);
    await aggregator.start();
    return aggregator;
  }

  get http() {
    return `http${this.tls ? 's' : ''}://127.0.0.1:${this.port}`;
  }

  get socket() {
    return `${this.http.replace('http', 'ws')}/v1/connect`;
  }

  /** GETs a path: `{ status, headers, body }`. */
  async get(path) {
    return await get(`${this.http}${path}`, { ca: this.tls?.certificate });
  }

  /** The page's address, with query parameters. */
  page(parameters) {
    return `${this.http}/?${new URLSearchParams({ task: this.task.id, ...parameters })}`;
  }

  async start() {
    const args = ['serve', '--config', this.config];
    this.program = new Program(program('fedra-aggregator'), args, join(this.folder, 'aggregator.log'));
    await until('the aggregator is ready', async () => {
      if (!this.program.isRunning) throw new Error(`the aggregator ended:\n${this.program.lastLines()}`);
      return await this.get('/readyz').then(
        ({ status }) => status === 200,
        () => false,
      );
    });
  }

  async end(signal) {
    return await this.program.end(signal);
  }

  /** Ends it as an operator would, and starts it again on the same store. */
  async restart() {
    await this.end();
    await this.start();
  }

  /** The task's JSON. */
  async state() {
    const { status, body } = await this.get(`/v1/tasks/${this.task.id}`);
    if (status !== 200) throw new Error(`GET /v1/tasks/${this.task.id}: ${status}`);
    return JSON.parse(body);
  }

  /** Waits until the task's state satisfies `condition`; returns the state. */
  async reaches(what, condition, seconds) {
    let last;
    return await until(
      what,
      async () => {
        last = await this.state();
        return condition(last) ? last : undefined;
      },
      { seconds, state: () => last },
    );
  }
}

/**
 * Starts `clients` native clients in one process, with so many `examples` each of `data`,
 * or all. `url` is another way to the aggregator than its own port, `more` are further
 * arguments.
 */
export function startNativeClients(aggregator, { clients = 1, examples, data = MNIST, url = aggregator.socket, more = [] }) {
  const args = ['--url', url, '--task', aggregator.task.id, '--data', needed(data), '--clients', String(clients), ...more];
  if (examples !== undefined) args.push('--examples', String(examples));
  return new Program(program('fedra-edge'), args, join(aggregator.folder, 'clients.log'));
}

/** Held-out examples of a task that has none of its own: MNIST. */
const EVALUATION = `[task.evaluation]
data = ${JSON.stringify(join(MNIST, 't10k-images-idx3-ubyte'))}
labels = ${JSON.stringify(join(MNIST, 't10k-labels-idx1-ubyte'))}
`;

/** `task.model` is a name, or a table of TOML; `data`, `evaluation` and `more` are TOML. */
function configuration(folder, port, task, tls) {
  const text = (value) => JSON.stringify(value);
  return `[server]
listen = "127.0.0.1:${port}"
store = ${text(join(folder, 'store'))}
page = ${text(needed(PAGE))}

${task.server ?? ''}
${tls ? `[server.tls]\ncertificate = ${text(tls.certificate)}\nprivate_key = ${text(tls.key)}\n` : ''}
[[task]]
id = ${text(task.id)}
title = "End to end"
model = ${task.model.startsWith('{') ? task.model : text(task.model)}
seed = 1
${task.rounds ? `rounds = ${task.rounds}` : ''}
${task.codec ? `codec = ${text(task.codec)}` : ''}

[task.training]
epochs = ${task.epochs ?? 1}
batch_size = 10
learning_rate = ${task.learningRate}
momentum = ${task.momentum ?? 0}

[task.round]
cohort_size = ${task.cohort ?? 16}
minimum_cohort = ${task.minimumCohort}
selection_window = "1s"
report_goal = ${task.cohort ?? 16}
minimum_reports = ${task.minimumReports ?? 1}
deadline = ${text(task.deadline ?? '120s')}

${task.privacy ?? ''}

${task.data ?? ''}

${task.evaluation ?? EVALUATION}
${task.more ?? ''}`;
}

/** A port of loopback that is free now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
