// The parts of the operator's page that need no browser: reports, requests, texts.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { AdminApi, baseOf, cleanToken, mistakesOf, Refusal } from '../../../node_modules/.cache/fedra-demo/admin/api.js';
import {
  earlier,
  entries,
  hashOf,
  INITIAL,
  possible,
  problemOf,
  standOf,
  viewOf,
  withList,
  withoutAccess,
  withSeen,
  withView,
} from '../../../node_modules/.cache/fedra-demo/admin/state.js';
import {
  checkpointWords,
  decisionWords,
  doneWords,
  duration,
  failingWords,
  failureWords,
  moment,
  phaseSentence,
  problemWords,
  refusedWords,
  standSentence,
} from '../../../node_modules/.cache/fedra-demo/admin/words.js';
import { qualities } from '../../../node_modules/.cache/fedra-demo/api.js';
import { CHARTS, drawable, pointWords, summary } from '../../../node_modules/.cache/fedra-demo/chart-kinds.js';
import { ApiError, check, checkList } from '../../../node_modules/.cache/fedra-demo/json.js';
import { makeOperators, TOKEN } from '../harness/operators.mjs';

const made = () => {
  const { answer } = makeOperators();
  return (path) => answer('GET', path, new URLSearchParams(), '', { authorization: `Bearer ${TOKEN}` })[1];
};

test('a task is read for everybody and for operators, and what lacks something is refused', () => {
  const get = made();
  const task = check('Task', get('/v1/tasks/digits'));
  assert.deepEqual(task.cohort, { invited: 40, reported: 21, left: 2, report_goal: 32 });
  assert.equal(task.history.length, 24);
  const operated = check('OperatedTask', get('/v1/admin/tasks/clinic'));
  assert.deepEqual([operated.state, operated.history[2].cohort], ['running', 32]);
  assert.equal(checkList('TaskSummary', get('/v1/tasks')).length, 2);
  assert.throws(() => checkList('TaskSummary', [null]), { code: 'bad-answer' });
  const whole = get('/v1/admin/tasks/digits');
  for (const [lacking, value] of [
    ['health', null],
    ['health', { ...whole.health, state: 'ill' }],
    ['health', { ...whole.health, since: 'once' }],
    ['state', 'asleep'],
    ['round', 1.5],
    ['title', undefined],
    ['checkpoints', null],
    ['decisions', {}],
    ['phase', 'dreaming'],
    ['cohort', null],
    ['history', [{}]],
  ]) {
    assert.throws(() => check('OperatedTask', { ...whole, [lacking]: value }), { code: 'bad-answer' }, lacking);
  }
});

test('before the first round the initial model has its point in the chart', () => {
  const latest = { round: 0, accuracy: 0.1, loss: 2.3 };
  assert.deepEqual(qualities({ history: [], latest }), [latest]);
  assert.deepEqual(qualities({ history: [], latest: null }), []);
  const { history } = made()('/v1/tasks/digits');
  assert.equal(qualities({ history, latest }), history);
});

test('the server is read, with memory only where it can tell', () => {
  const answer = made()('/v1/admin/status');
  assert.equal(check('ServerStatus', answer).memory_bytes, 74_600_000);
  assert.equal(check('ServerStatus', { ...answer, memory_bytes: null }).memory_bytes, null);
  assert.deepEqual(
    check('ServerStatus', answer).tasks.map(({ id, round }) => [id, round]),
    [
      ['digits', 24],
      ['clinic', 6],
    ],
  );
  assert.throws(() => check('ServerStatus', { ...answer, tasks: [{}] }), { code: 'bad-answer' });
  const lost = { id: 'lost', reason: 'its newest model is damaged' };
  assert.deepEqual(check('ServerStatus', { ...answer, set_aside: [lost] }).set_aside, [lost]);
  assert.throws(() => check('ServerStatus', { ...answer, set_aside: [{ id: 'lost' }] }), { code: 'bad-answer' });
});

test('mistakes are read from a problem, and only from there', () => {
  const mistakes = [{ path: 'task.id', problem: 'is missing' }];
  assert.deepEqual(mistakesOf({ mistakes }), mistakes);
  for (const none of [undefined, null, 'text', {}, { mistakes: 'x' }]) assert.deepEqual(mistakesOf(none), []);
});

test('the API lies beside the folder of the page, whatever is before both', () => {
  for (const end of ['admin', 'admin/', 'admin/index.html', 'admin/?x=1#/server']) {
    assert.equal(baseOf(`https://example.org/${end}`), 'https://example.org');
    assert.equal(baseOf(`https://example.org/fed/${end}`), 'https://example.org/fed');
  }
});

test('a token is taken without the white space around it, or not at all', () => {
  assert.equal(cleanToken('  abc-123_=\n'), 'abc-123_=');
  for (const bad of ['', '   ', 'two words', 'umläut', 'line\nbreak']) assert.equal(cleanToken(bad), undefined);
});

const { fetch: realFetch } = globalThis;
afterEach(() => (globalThis.fetch = realFetch));

/** Answers every request with this, and resolves to the request. */
function answerWith(status, body, headers = {}) {
  const asked = [];
  globalThis.fetch = async (url, request) => {
    asked.push({ url, ...request });
    return new Response(typeof body === 'string' ? body : JSON.stringify(body), { status, headers });
  };
  return asked;
}

test('the token travels in a header, to the admin API only', async () => {
  const get = made();
  const api = new AdminApi('http://host');
  api.authorize(TOKEN);
  let asked = answerWith(200, get('/v1/tasks'));
  await api.tasks();
  assert.equal(asked[0].headers.get('authorization'), null);
  asked = answerWith(200, { state: 'paused' });
  assert.equal(await api.operate('a b', 'pause'), 'paused');
  const [{ url, headers, method, redirect }] = asked;
  assert.deepEqual([url, method, redirect], ['http://host/v1/admin/tasks/a%20b/pause', 'POST', 'error']);
  assert.equal(headers.get('authorization'), `Bearer ${TOKEN}`);
  api.authorize(undefined);
  await api.operate('a', 'resume');
  assert.equal(asked[1].headers.get('authorization'), null);
});

for (const [status, path, code] of [
  [401, 'status', 'unauthorized'],
  [404, 'status', 'no-admin'],
  [404, 'task', 'unknown-task'],
  [409, 'task', 'refused'],
  [413, 'task', 'too-large'],
  [422, 'task', 'mistakes'],
  [429, 'status', 'busy'],
  [503, 'status', 'refused'],
  [500, 'task', 'refused'],
]) {
  test(`${status} for ${path} is ${code}`, async () => {
    const api = new AdminApi('http://host');
    answerWith(status, { detail: 'the reason' }, { 'retry-after': '3' });
    await assert.rejects(path === 'status' ? api.status() : api.operated('x'), (error) => {
      assert.ok(error instanceof Refusal);
      assert.deepEqual([error.code, error.message, error.retryAfterMs], [code, 'the reason', 3000]);
      return true;
    });
  });
}

test('what is not the aggregator’s own answer is no answer', async () => {
  const api = new AdminApi('http://host');
  answerWith(200, '<html>');
  await assert.rejects(api.tasks(), { code: 'bad-answer' });
  answerWith(502, '<html>');
  await assert.rejects(api.tasks(), { code: 'refused', message: '' });
  globalThis.fetch = () => Promise.reject(new TypeError('failed'));
  await assert.rejects(api.tasks(), { code: 'no-server' });
});

test('an address names a view', () => {
  assert.deepEqual(viewOf(''), { name: 'task', id: undefined });
  assert.deepEqual(viewOf('#/server'), { name: 'server' });
  assert.deepEqual(viewOf('#/new'), { name: 'new' });
  assert.deepEqual(viewOf(hashOf('a_b-1')), { name: 'task', id: 'a_b-1' });
  assert.deepEqual(viewOf('#/tasks/%'), { name: 'task', id: '%' });
});

test('how a task stands, and what can be done with it', () => {
  const stand = (phase, state, health = 'ok') => standOf({ phase, state, health: { state: health } });
  assert.equal(stand('collecting', 'running'), 'running');
  assert.equal(stand('collecting', 'paused', 'failing'), 'pausing');
  assert.equal(stand('paused', 'paused'), 'paused');
  assert.equal(stand('paused', 'running'), 'paused', 'the server stops');
  assert.equal(stand('finished', 'finished'), 'finished');
  assert.equal(stand('finished', 'stopped'), 'stopped');
  assert.equal(stand('selecting', 'running', 'waiting'), 'waiting');
  assert.equal(stand('collecting', 'running', 'failing'), 'failing');
  const operated = (phase, state) => ({ phase, state, health: { state: 'ok' } });
  assert.deepEqual(possible(operated('collecting', 'running')), ['pause', 'roll-back', 'export', 'stop']);
  assert.deepEqual(possible(operated('collecting', 'paused')), ['resume', 'roll-back', 'export', 'stop']);
  assert.deepEqual(possible(operated('finished', 'stopped')), ['export']);
  assert.deepEqual(earlier({ checkpoints: [0, 3, 4, 5], round: 5 }), [4, 3, 0]);
});

test('a chart is drawn anew for news only, and the operator’s part goes with the token', () => {
  const get = made();
  const first = check('OperatedTask', get('/v1/admin/tasks/digits'));
  const tasks = checkList('TaskSummary', get('/v1/tasks'));
  let state = withSeen(withList({ ...INITIAL, access: 'operator' }, tasks), {
    operated: first,
    status: check('ServerStatus', get('/v1/admin/status')),
  });
  const { history } = state.task;
  state = withSeen(state, { operated: check('OperatedTask', get('/v1/admin/tasks/digits')) });
  assert.equal(state.task.history, history);
  const judged = structuredClone(get('/v1/admin/tasks/digits'));
  judged.history[23].accuracy = 0.99;
  state = withSeen(state, { operated: check('OperatedTask', judged) });
  assert.equal(state.task.history[23].accuracy, 0.99);
  assert.deepEqual(
    entries(state).map(({ id, stand, round }) => [id, stand, round]),
    [
      ['digits', 'running', 24],
      ['clinic', 'running', 6],
    ],
  );

  const other = withView(state, { name: 'task', id: 'clinic' });
  assert.deepEqual([other.task.id, other.operated], ['clinic', undefined]);
  const out = withoutAccess(state, problemOf(new Refusal('unauthorized', '', [], undefined)));
  assert.deepEqual([out.access, out.operated, out.status, out.refused.code], ['visitor', undefined, undefined, 'unauthorized']);
  assert.equal(out.task.id, 'digits', 'what everybody may see stays');
});

test('what goes wrong is said in words that help', () => {
  const problem = (code, message = '', mistakes = []) => ({ code, message, mistakes });
  for (const code of ['no-server', 'unknown-task', 'bad-answer', 'busy', 'refused']) {
    const { title, text } = problemWords(problem(code, 'the reason'), 'host:1');
    assert.ok(title.length > 5 && /\.$/.test(text), code);
  }
  for (const code of ['bad-token', 'unauthorized', 'no-admin', 'no-server', 'busy', 'refused']) {
    assert.match(refusedWords(problem(code, 'the reason')), /[.]$/, code);
  }
  assert.match(refusedWords(problem('no-admin')), /server\.admin\.token_file/);
  assert.deepEqual(failureWords({ ...problem('refused', 'round 3 is not kept'), action: 'roll-back' }), {
    title: 'There was no roll-back',
    text: 'Round 3 is not kept.',
  });
  assert.match(failureWords({ ...problem('mistakes', '', [{ path: 'a', problem: 'b' }]), action: 'create' }).text, /There is a mistake/);
  assert.match(failureWords({ ...problem('no-server'), action: 'stop' }).text, /may have heard you/);
  assert.deepEqual(problemOf(new ApiError('no-server', 'm')), problem('no-server', 'm'));
});

test('a failing task says how often, why and since when, and a waiting one what it lacks', () => {
  const health = {
    state: 'failing',
    reason: '3 of 4: training diverged; a smaller learning rate may help',
    since: '1970-01-01T00:00:00Z',
    attempts: 1,
    failures: [],
  };
  assert.deepEqual(failingWords(health), {
    title: 'The last attempt came to nothing',
    text: `3 of 4: training diverged; a smaller learning rate may help. Failing since ${moment(0)}.`,
  });
  assert.equal(failingWords({ ...health, attempts: 12 }).title, 'The last 12 attempts came to nothing');
  const waiting = { ...health, state: 'waiting', reason: '1 client is available, 4 are needed' };
  assert.equal(standSentence('waiting', waiting), '1 client is available, 4 are needed.');
  assert.equal(standSentence('running', health), undefined);
  assert.equal(standSentence('paused', { reason: 'the task is paused' }), undefined);
  const refused = { reason: 'paused by the gate after 2 roll-backs in a row: why' };
  assert.equal(standSentence('paused', refused), 'Paused by the gate after 2 roll-backs in a row: why.');
});

test('rounds, decisions and times are written for people', () => {
  assert.deepEqual([0, 0.4, 59.6, 61, 3600, 90_061, 1e6].map(duration), [
    '0 s',
    '0 s',
    '1 min',
    '1 min 1 s',
    '1 h',
    '1 d 1 h',
    '11 d 13 h',
  ]);
  assert.match(moment(0), /^19(69|70)-\d\d-\d\d \d\d:\d\d:\d\d$/);
  assert.equal(decisionWords({ action: 'roll-back', to: 3, round: 9 }), 'Rolled back to round 3, as round 9');
  assert.equal(decisionWords({ action: 'stop' }), 'Stopped for good');
  assert.equal(decisionWords({ action: 'pause' }), 'Paused');
  assert.equal(decisionWords({ action: 'pause', refused: 9 }), 'Paused by the gate, which refused round 9');
  assert.match(doneWords('paused', 'collecting'), /once the round under way is completed/);
  assert.equal(doneWords('paused', 'selecting'), 'The task is paused.');
  const history = [
    { round: 4, accuracy: 0.912, loss: 0.31 },
    { round: 5, accuracy: null, loss: null },
  ];
  assert.equal(checkpointWords(4, history, 'accuracy'), 'Round 4: 91.2 %, loss 0.310');
  assert.equal(checkpointWords(5, history, 'accuracy'), 'Round 5');
  assert.equal(checkpointWords(0, history, 'accuracy'), 'The initial model');
  const report = made()('/v1/tasks/digits');
  assert.equal(phaseSentence(report), 'Clients are training; 21 of 32 updates are in. At most 38 s more.');
  assert.match(phaseSentence({ ...report, phase: 'selecting', clients_connected: 0 }), /nobody is connected/);
});

test('every chart says what it shows', () => {
  const { history } = made()('/v1/tasks/digits');
  assert.equal(summary(CHARTS.accuracy, []), 'No accuracy yet');
  assert.match(summary(CHARTS.loss, history), /^Loss from \d\.\d{3} in round 1 to \d\.\d{3} in round 24$/);
  assert.match(pointWords(CHARTS.bytes, history[0]), /^24\.7 MB from clients, 32\.7 MB to clients$/);
  const back = { ...history[0], round: 25, reports: 0, seconds: 0 };
  assert.deepEqual(drawable(CHARTS.seconds, [back]), [], 'a roll-back took no time');
  assert.deepEqual(drawable(CHARTS.accuracy, [back]), [back], 'but has a model');
  assert.deepEqual(drawable(CHARTS.accuracy, [{ round: 1, accuracy: null, loss: 1 }]), []);
  for (const chart of Object.values(CHARTS)) {
    const [least, most] = chart.range(0.9, 0.9);
    assert.ok(most > least, chart.title);
  }
});
