import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check } from '../../../node_modules/.cache/fedra-demo/json.js';
import { OptionsError, parseOptions } from '../../../node_modules/.cache/fedra-demo/options.js';
import { INITIAL, latestEvaluated, withEvent, withTask } from '../../../node_modules/.cache/fedra-demo/state.js';
import {
  advice,
  bytes,
  cohortWords,
  percent,
  phaseWords,
  roundSteps,
  sentence,
  stateWords,
  whole,
} from '../../../node_modules/.cache/fedra-demo/words.js';

test('without parameters the page takes its own server, its first task, any shard', () => {
  assert.deepEqual(parseOptions('https://example.org/?x=1'), {
    url: 'wss://example.org/v1/connect',
    api: 'https://example.org',
    task: undefined,
    backend: 'auto',
    shard: undefined,
    examples: undefined,
    autostart: false,
  });
});

test('its own server lies beside the page, below the same path', () => {
  for (const page of ['', 'index.html', '?task=t', '#top']) {
    const { url, api } = parseOptions(`http://example.org/fed/${page}`);
    assert.deepEqual([url, api], ['ws://example.org/fed/v1/connect', 'http://example.org/fed']);
  }
});

test('every parameter is read', () => {
  const address = 'http://localhost/?task=t&backend=cpu&shard=0&examples=5&start=1&url=ws://127.0.0.1:9/fed/v1/connect';
  assert.deepEqual(parseOptions(address), {
    url: 'ws://127.0.0.1:9/fed/v1/connect',
    api: 'http://127.0.0.1:9/fed',
    task: 't',
    backend: 'cpu',
    shard: 0,
    examples: 5,
    autostart: true,
  });
});

for (const query of ['backend=gpu', 'shard=-1', 'shard=1.5', 'examples=0', 'examples=', 'url=ftp://x/', 'url=http://[']) {
  test(`?${query} is a mistake that is told`, () => {
    assert.throws(() => parseOptions(`http://localhost/?${query}`), OptionsError);
  });
}

const answer = {
  id: 'mnist',
  title: 'Digits',
  state: 'running',
  health: { state: 'ok', reason: null, since: '2026-01-01T09:00:00Z', attempts: 0, failures: [] },
  round: 2,
  round_under_way: 3,
  attempt: 0,
  phase: 'selecting',
  cohort: { invited: 0, reported: 0, left: 0, report_goal: 3 },
  seconds_left: null,
  clients_connected: 3,
  model: {
    sha256: 'ab',
    url: '../models/ab',
    bytes: 10,
    parameters: 7,
    round: 2,
    frozen: null,
    input: [784],
    vocabulary: null,
    output: [10],
    loss: 'softmax_cross_entropy',
  },
  data: null,
  evaluated: true,
  headline: 'accuracy',
  latest: null,
  latest_by_clients: null,
  classes: null,
  rounds_total: null,
  privacy: null,
  gate: null,
  history: [
    { round: 1, accuracy: 0.5, loss: 1.5, by_clients: null, reports: 3, seconds: 1, bytes_up: 1, bytes_down: 1, refused: false },
    { round: 2, accuracy: null, loss: null, by_clients: null, reports: 3, seconds: 1, bytes_up: 1, bytes_down: 1, refused: false },
  ],
};

test('the task is read, and an answer that lacks something is refused', () => {
  assert.equal(check('Task', answer), answer);
  const untrained = { ...answer, history: [], latest: { round: 0, accuracy: 0.1, loss: 2.3 } };
  assert.deepEqual(withTask(INITIAL, untrained).history, [untrained.latest]);
  assert.throws(() => check('Task', { ...answer, history: undefined }), { code: 'bad-answer' });
  assert.throws(() => check('Task', null), { code: 'bad-answer' });
  // A later server may say more.
  assert.ok(check('Task', { ...answer, colour: 'red' }));
});

test('a description that stays the same keeps its object, so that a form is not drawn anew', () => {
  const described = (context) => ({ ...answer, data: { kind: 'text', context } });
  const first = withTask(INITIAL, described(8));
  assert.deepEqual([first.kind, first.data.data.context], ['text', 8]);
  assert.equal(withTask(first, described(8)).data, first.data);
  assert.notEqual(withTask(first, described(9)).data, first.data);
  const parts = [{ file: 'a.txt', title: 'a' }];
  assert.deepEqual(withTask(first, described(8), { parts, samples: [], source: null }).data.parts, parts);
});

test('the scores of the clients come from the task and from events', () => {
  const scored = { ...answer, latest_by_clients: { round: 2, accuracy: 0.5, loss: 1.25 } };
  let state = withTask(INITIAL, scored);
  assert.deepEqual(state.byClients, { round: 2, accuracy: 0.5, loss: 1.25 });
  const model = { type: 'model', round: 4, sha256: 'x', bytes: 1 };
  state = withEvent(state, { ...model, byClients: { round: 4, loss: 0.5 } });
  assert.deepEqual(withEvent(state, model).byClients, { round: 4, loss: 0.5 });
  assert.equal(withTask(INITIAL, answer).byClients, undefined);
});

test('history from the task and from events becomes one line in order', () => {
  let state = withTask(INITIAL, answer);
  const model = (evaluatedRound, accuracy) => ({
    type: 'model',
    round: evaluatedRound,
    sha256: 'x',
    bytes: 1,
    accuracy,
    loss: 1,
    evaluatedRound,
  });
  state = withEvent(state, model(4, 0.8));
  state = withEvent(state, model(2, 0.6));
  state = withEvent(state, { type: 'model', round: 5, sha256: 'y', bytes: 1 });
  assert.deepEqual(
    state.history.map(({ round, accuracy }) => [round, accuracy]),
    [
      [1, 0.5],
      [2, 0.6],
      [4, 0.8],
    ],
  );
  // A stale answer does not undo what an event told.
  state = withTask(state, answer);
  assert.equal(state.history[1].accuracy, 0.6);
  assert.equal(latestEvaluated(state.history).round, 4);
});

test('a lost server is a problem until the client is back; no WebGPU is only a notice', () => {
  const error = (code, fatal) => ({ type: 'error', code, message: 'm', fatal });
  let state = withEvent({ ...INITIAL, stage: 'running' }, error('no-server', false));
  assert.equal(state.problem.code, 'no-server');
  state = withEvent(state, { type: 'status', state: 'reconnecting', retryInMs: 4200 });
  assert.equal(stateWords(state), 'No connection; trying again in 4 s');
  assert.ok(state.problem);
  state = withEvent(state, { type: 'status', state: 'waiting' });
  assert.equal(state.problem, undefined);
  state = withEvent(state, error('no-webgpu', false));
  assert.equal(state.problem, undefined);
  assert.equal(state.notice.code, 'no-webgpu');
  state = withEvent(state, error('task-finished', false));
  assert.deepEqual([state.stage, state.notice.code], ['running', 'task-finished']);
  state = withEvent(state, error('worker-failed', true));
  assert.equal(state.stage, 'ended');
});

test('why a round was left is told until a change is accepted, and takes no other notice along', () => {
  const error = (code, fatal = false) => ({ type: 'error', code, message: 'm', fatal });
  const update = (outcome) => ({ type: 'update', round: 3, outcome });
  let state = withEvent({ ...INITIAL, stage: 'running' }, error('bad-dataset'));
  for (const event of [{ type: 'status', state: 'waiting' }, { type: 'status', state: 'training' }, update('discarded')])
    state = withEvent(state, event);
  assert.deepEqual([state.notice.code, state.problem], ['bad-dataset', undefined]);
  state = withEvent(state, update('accepted'));
  assert.deepEqual([state.notice, state.accepted], [undefined, 1]);
  state = withEvent(withEvent(state, error('device-lost')), update('accepted'));
  assert.equal(state.notice.code, 'device-lost');
  assert.equal(withEvent(state, error('training-failed', true)).problem.code, 'training-failed');
});

test('a message becomes a sentence, and an address in it stays as it is', () => {
  assert.equal(sentence('the loss is not a number '), 'The loss is not a number.');
  assert.equal(sentence('Stored rounds:'), 'Stored rounds:');
  assert.equal(sentence('https://a.example/data is not there'), 'https://a.example/data is not there.');
});

test('the cohort is told in a sentence', () => {
  const round = {
    type: 'round',
    round: 1,
    attempt: 0,
    phase: 'collecting',
    cohort: 8,
    reported: 3,
    left: 1,
    reportGoal: 7,
    clientsConnected: 9,
  };
  const state = { ...INITIAL, round, status: { type: 'status', state: 'training', round: 1 } };
  assert.equal(cohortWords(state), 'You and 7 others train in this round; 3 of 7 reports are in, 1 left.');
  const alone = { ...round, cohort: 1, reported: 0, reportGoal: 1, left: 0 };
  assert.equal(cohortWords({ ...state, round: alone }), 'You alone train in this round; 0 of 1 reports are in.');
  assert.equal(
    cohortWords({ ...state, status: { type: 'status', state: 'waiting' } }),
    '8 clients, without this tab, train in this round; 3 of 7 reports are in, 1 left.',
  );
  assert.equal(
    cohortWords({ ...state, round: { ...round, phase: 'selecting' } }),
    '9 clients connected; the next round starts when enough are ready.',
  );
});

test('a task that its operator has paused says so, and is no problem', () => {
  const round = {
    type: 'round',
    round: 4,
    attempt: 0,
    phase: 'paused',
    cohort: 0,
    reported: 0,
    left: 0,
    reportGoal: 7,
    clientsConnected: 9,
  };
  const state = { ...INITIAL, stage: 'running', round, status: { type: 'status', state: 'waiting' } };
  assert.equal(phaseWords(round), 'paused by the operator');
  assert.equal(stateWords(state), 'The operator has paused the task');
  assert.equal(cohortWords(state), '9 clients connected; the operator has paused the task.');
  assert.ok(roundSteps(round, true).every(({ when }) => when === 'later'));
});

test('who is sent away for a while is told when it goes on', () => {
  const status = { type: 'status', state: 'waiting', retryInMs: 31_400 };
  const state = withEvent({ ...INITIAL, stage: 'running' }, status);
  assert.equal(state.problem, undefined);
  assert.equal(stateWords(state), 'Enough others take part right now; asking again in 31 s');
});

test('a tab that sits out says why, and a finished task is told apart', () => {
  const running = { ...INITIAL, stage: 'running' };
  const left = withEvent(running, { type: 'status', state: 'waiting', retryInMs: 31_400, reason: 'missed-deadline' });
  assert.equal(stateWords(left), 'Sitting out for 31 s: this tab was too slow for the last rounds');
  assert.equal(stateWords({ ...left, status: { ...left.status, reason: 'training-failed' } }), 'Sitting out for 31 s');
  const unavailable = withEvent(running, { type: 'status', state: 'unavailable' });
  assert.equal(stateWords(unavailable), 'Sitting out, for the reason below');
  const finished = { ...unavailable, round: { type: 'round', phase: 'finished' } };
  assert.equal(stateWords(finished), 'All rounds are done');
});

test('every known error says what to do', () => {
  const codes = [
    'no-server',
    'no-task',
    'unknown-task',
    'refused-unknown-task',
    'task-finished',
    'refused-overloaded',
    'refused-unsupported-version',
    'refused-unsupported-client',
    'no-webgpu',
    'device-lost',
    'step-unusable',
    'bad-dataset',
    'no-digits',
    'bad-options',
    'wasm-load-failed',
    'training-failed',
    'worker-failed',
    'privacy-refused',
    'privacy-declined',
    'privacy-exhausted',
    'consent-failed',
    'budget-spent',
    'secure-aggregation-failed',
    'refused-not-selected',
    'refused-unauthorized',
    'token-failed',
    'refused-shutting-down',
    'refused-replaced',
    'refused-timeout',
    'privacy-failed',
    'participation-not-kept',
    'no-randomness',
    'update-rejected',
    'unsupported-task',
    'training-diverged',
    'out-of-range',
    'model-unavailable',
    'blocked-by-policy',
    'invalid-options',
    'bad-model',
    'out-of-memory',
    'prediction-failed',
  ];
  for (const code of codes) {
    const { title, text } = advice({ code, message: 'the reason', fatal: true }, 'ws://127.0.0.1:8080/v1/connect');
    assert.notEqual(title, 'Something went wrong', code);
    assert.match(text, /\.$/, code);
  }
  assert.match(advice({ code: 'worker-failed', message: 'x', fatal: false }, '').text, /goes on by itself/);
  assert.match(advice({ code: 'new-one', message: 'x', fatal: true }, '').text, /new-one/);
});

test('figures are written for people', () => {
  assert.deepEqual([0, 999, 1500, 796_840, 12_345_678, 2e9].map(bytes), ['0 B', '999 B', '1.5 kB', '797 kB', '12.3 MB', '2.00 GB']);
  assert.equal(percent(0.9634), '96.3 %');
  assert.equal(whole(1663370), '1\u202f663\u202f370');
});
