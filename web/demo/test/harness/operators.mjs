// A made-up aggregator for the operator's page: two tasks whose rounds go by as
// they are looked at, and the admin API with its refusals. For tests only.

import { tenClasses } from '../fixtures/classes.mjs';

export const TOKEN = 'an-operator-token-of-the-tests-0123456789';

const WARMTH = 2.2;

/** A completed round of a model that learns quickly at first. */
function completed(round, clients) {
  const loss = 0.16 + WARMTH * Math.exp(-round / 4.5) + 0.015 * Math.sin(round * 2.3);
  return {
    round,
    accuracy: 1 - 0.27 * loss,
    loss,
    by_clients: null,
    reports: clients - (round % 3),
    seconds: 3.4 + 0.9 * Math.sin(round * 1.7),
    bytes_up: (clients - (round % 3)) * 796_900,
    bytes_down: (clients + 9) * 797_400,
    refused: false,
  };
}

const rounds = (count, clients) => Array.from({ length: count }, (_, index) => completed(index + 1, clients));

const WELL = { state: 'ok', reason: null, since: '2026-01-01T09:00:00Z', attempts: 0, failures: [] };

/** The state of the two tasks as a test begins. */
function fresh() {
  const digits = {
    id: 'digits',
    title: 'Handwritten digits',
    state: 'running',
    health: WELL,
    history: rounds(24, 32),
    phase: 'collecting',
    attempt: 0,
    clients: 212,
    cohort: { invited: 40, reported: 21, left: 2, report_goal: 32 },
    rounds_total: 60,
    restored: new Map(),
    privacy: null,
    decisions: [
      { unix_seconds: 1_767_000_000, action: 'create' },
      { unix_seconds: 1_767_003_600, action: 'pause' },
      { unix_seconds: 1_767_007_200, action: 'resume' },
    ],
  };
  const budget = {
    policy: 'distributed',
    epsilon: 8,
    delta: 1e-5,
    spent_epsilon: 3.42,
    round_epsilon: 1.24,
    noise_multiplier: 1.1,
    clipping_norm: 0.8,
    target_quantile: 0.5,
    minimum_survivors: 26,
    colluders: 2,
    max_participations: 20,
    counts_subjects: true,
    debits: 7,
    subjects: 148,
  };
  const clinic = {
    id: 'clinic',
    title: 'Handwritten digits, privately',
    state: 'running',
    health: WELL,
    history: rounds(6, 31),
    phase: 'masking',
    attempt: 1,
    clients: 48,
    cohort: { invited: 32, reported: 12, left: 3, report_goal: 32 },
    rounds_total: 20,
    restored: new Map(),
    privacy: budget,
    decisions: [],
  };
  return [digits, clinic];
}

/** An aggregator that answers below `/v1/`. `orders` has the bodies of the requests. */
export function makeOperators() {
  let tasks = fresh();
  let enabled = true;
  const orders = [];
  const presented = [];

  function report(task) {
    const { history, ...own } = task;
    return { ...summary(own, history), classes: history.length > 0 ? tenClasses() : null, history };
  }

  /** A task without its rounds. */
  function summary({ id, title, state, health, phase, attempt, cohort, clients, rounds_total, privacy }, history) {
    const round = history.length;
    const idle = phase === 'paused' || phase === 'finished' || phase === 'selecting';
    const last = history.at(-1);
    return {
      id,
      title,
      health,
      state,
      round,
      round_under_way: round + 1,
      phase,
      attempt,
      rounds_total,
      privacy,
      cohort: idle ? { invited: 0, reported: 0, left: 0, report_goal: 1 } : cohort,
      seconds_left: idle || phase === 'finalizing' ? null : 38.4,
      clients_connected: clients,
      model: {
        sha256: 'ab',
        url: '../models/ab',
        bytes: 796_900,
        parameters: 199_210,
        round,
        frozen: null,
        input: [784],
        vocabulary: null,
        output: [10],
        loss: 'softmax_cross_entropy',
      },
      data: null,
      evaluated: true,
      headline: 'accuracy',
      latest: last ? { round, accuracy: last.accuracy, loss: last.loss, macro_f1: last.accuracy - 0.01 } : null,
      latest_by_clients: null,
      gate: null,
    };
  }

  function whole(task) {
    const history = task.history.map((past) => {
      const restored = task.restored.get(past.round);
      return {
        ...past,
        attempt: past.round % 7 === 0 ? 1 : 0,
        cohort: restored === undefined ? task.cohort.invited : 0,
        weight: 1,
        ...(restored === undefined ? {} : { restored }),
      };
    });
    const first = Math.max(0, task.history.length - 9);
    const checkpoints = [...(first > 0 ? [0] : []), ...task.history.slice(first).map(({ round }) => round)];
    const config = `task ${task.id}: 199210 parameters, ${task.rounds_total} rounds; invites ${task.cohort.invited}, starts with 26, closes at 32 reports or after 1m, needs 26; evaluated`;
    return {
      ...operated(task),
      classes: history.length > 0 ? tenClasses() : null,
      history,
      checkpoints,
      decisions: task.decisions,
      config,
    };
  }

  /** A task without its rounds, for operators. */
  const operated = (task) => ({ ...summary(task, task.history), contested: 0, weight: 0 });

  function status() {
    return {
      version: '0.1.0',
      draining: false,
      uptime_seconds: 273_845.2,
      memory_bytes: 74_600_000,
      connections: 263,
      sessions: 260,
      upload_bytes_in_flight: 4_780_000,
      upload_budget_bytes: 268_435_456,
      tasks: tasks.map(operated),
      set_aside: [],
    };
  }

  const decide = (task, action) => task.decisions.push({ unix_seconds: 1_767_010_800, ...action });

  function admin(method, path, query, body, headers) {
    if (!enabled) return problem(404, 'the admin API is not enabled; set server.admin.token_file in the config, and restart');
    presented.push(headers.authorization);
    if (headers.authorization !== `Bearer ${TOKEN}`) return problem(401, 'this address needs the operator’s token');
    if (path === 'status') return [200, status()];
    if (method === 'POST') orders.push({ path, body });
    if (path === 'tasks') return create(body, headers);
    const [, id, order] = path.split('/');
    const task = tasks.find((one) => one.id === id);
    if (!task) return problem(404, 'there is no task of this name');
    return operate(task, order, query, body);
  }

  /** One task, looked at or given an order. */
  function operate(task, order, query, body) {
    switch (order) {
      case undefined:
        return [200, whole(task)];
      case 'export':
        return [200, `the model of round ${query.get('round')}`, 'application/octet-stream'];
      case 'rollback':
        return rollBack(task, JSON.parse(body).round);
      default:
        if (task.state === 'stopped') return problem(409, 'the task has been stopped for good');
        task.state = { pause: 'paused', resume: 'running', stop: 'stopped' }[order];
        task.phase = { paused: task.phase, running: 'selecting', stopped: 'finished' }[task.state];
        decide(task, { action: order });
        return [200, { state: task.state }];
    }
  }

  function rollBack(task, to) {
    const kept = whole(task).checkpoints;
    if (!kept.includes(to) || task.id === 'clinic')
      return problem(409, `task ${task.id}: the model of round ${to} is not kept; kept are those of round ${kept.join(', ')}`);
    const round = task.history.length + 1;
    task.history.push({ ...task.history[to - 1], round, reports: 0, seconds: 0, bytes_up: 0, bytes_down: 0 });
    task.restored.set(round, to);
    task.phase = 'selecting';
    decide(task, { action: 'roll-back', to, round });
    return [200, { round }];
  }

  function create(toml, headers) {
    if (headers['content-type'] !== 'application/toml') return problem(415, 'send the task’s config as application/toml');
    const id = /^id = "(.+)"$/m.exec(toml)?.[1];
    const mistakes = [];
    if (!toml.startsWith('[[task]]'))
      mistakes.push({ path: '', problem: 'TOML parse error at line 1, column 8\n  |\n1 | rubbish\n  |        ^\nexpected `.`, `=`' });
    else if (!id) mistakes.push({ path: 'task[0].id', problem: 'is missing' });
    if (/cohort_size = 0/.test(toml)) mistakes.push({ path: 'task[0].round.cohort_size', problem: 'must be a whole number of at least 1' });
    if (mistakes.length > 0)
      return [422, { title: 'Unprocessable Entity', status: 422, detail: 'mistakes in the config', mistakes }, 'application/problem+json'];
    if (tasks.some((task) => task.id === id)) return problem(409, `there is a task ${id} already`);
    tasks.push({
      ...fresh()[0],
      id,
      title: /^title = "(.+)"$/m.exec(toml)?.[1] ?? id,
      history: [],
      phase: 'selecting',
      clients: 0,
      decisions: [],
    });
    return [201, { id }];
  }

  /** The function that servePages takes. */
  function answer(method, path, query, body, headers) {
    if (path.startsWith('/v1/admin/')) return admin(method, path.slice('/v1/admin/'.length), query, body, headers);
    if (path === '/v1/tasks') return [200, tasks.map((task) => summary(task, task.history))];
    const task = tasks.find(({ id }) => path === `/v1/tasks/${id}`);
    return task ? [200, report(task)] : problem(404, 'there is no task of this name');
  }

  return {
    answer,
    orders,
    /** Values of the Authorization header so far. */
    presented,
    /** Begins anew, with or without the admin API. */
    reset: (isEnabled = true) => {
      tasks = fresh();
      enabled = isEnabled;
      orders.length = 0;
      presented.length = 0;
    },
    /** A task, for a test to change without the page. */
    task: (id) => tasks.find((one) => one.id === id),
  };
}

function problem(status, detail) {
  return [status, { type: 'about:blank', title: 'Error', status, detail }, 'application/problem+json'];
}
