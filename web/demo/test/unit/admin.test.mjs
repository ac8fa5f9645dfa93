// The parts of the operator's page that need no browser: reports, requests, texts.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { AdminApi, baseOf, cleanToken, Refusal } from '../../../node_modules/.cache/fedra-demo/admin/api.js';
import { parseMistakes, parseOperated, parseReport, parseStatus } from '../../../node_modules/.cache/fedra-demo/admin/report.js';
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
import { CHARTS, drawable, pointWords, summary } from '../../../node_modules/.cache/fedra-demo/chart-kinds.js';
import { ApiError } from '../../../node_modules/.cache/fedra-demo/json.js';
import { makeOperators, TOKEN } from '../harness/operators.mjs';

const made = () => {
  const { answer } = makeOperators();
  return (path) => answer('GET', path, new URLSearchParams(), '', { authorization: `Bearer ${TOKEN}` })[1];
};

test('a task is read for everybody and for operators, and what lacks something is refused', () => {
  const get = made();
  const report = parseReport(get('/v1/tasks/digits'));
  assert.equal(report.phase, 'collecting');
  assert.deepEqual(report.cohort, { invited: 40, reported: 21, left: 2, reportGoal: 32 });
  assert.equal(report.secondsLeft, 38.4);
  assert.equal(report.spending, null);
  assert.equal(report.history.length, 24);
  const operated = parseOperated(get('/v1/admin/tasks/clinic'));
  assert.equal(operated.standing, 'running');
  assert.equal(operated.spending.debits, 7);
  assert.equal(operated.cohorts.get(3).invited, 32);
  const whole = get('/v1/admin/tasks/digits');
  for (const [lacking, value] of [
    ['health', null],
    ['health', { ...whole.health, state: 'ill' }],
    ['health', { ...whole.health, since: 'once' }],
    ['standing', 'asleep'],
    ['checkpoints', null],
    ['decisions', {}],
    ['phase', 'dreaming'],
    ['cohort', null],
    ['rounds', [{}]],
  ]) {
    assert.throws(() => parseOperated({ ...whole, [lacking]: value }), { code: 'bad-answer' }, lacking);
  }
});

test('before the first round the initial model has its point in the chart, not in the table', () => {
  const answer = { ...made()('/v1/tasks/digits'), history: [], latest: { round: 0, accuracy: 0.1, loss: 2.3 } };
  const report = parseReport(answer);
  assert.deepEqual(report.history, []);
  assert.deepEqual(report.initial, { round: 0, accuracy: 0.1, loss: 2.3 });
});

test('the server is read, with memory only where it can tell', () => {
  const answer = made()('/v1/admin/status');
  assert.equal(parseStatus(answer).memoryBytes, 74_600_000);
  assert.equal(parseStatus({ ...answer, memory_bytes: null }).memoryBytes, undefined);
  assert.deepEqual(
    parseStatus(answer).tasks.map(({ id, round }) => [id, round]),
    [
      ['digits', 24],
      ['clinic', 6],
    ],
  );
  assert.throws(() => parseStatus({ ...answer, tasks: [{}] }), { code: 'bad-answer' });
  const lost = { id: 'lost', reason: 'its newest model is damaged' };
  assert.deepEqual(parseStatus({ ...answer, set_aside: [lost] }).setAside, [lost]);
  assert.throws(() => parseStatus({ ...answer, set_aside: [{ id: 'lost' }] }), { code: 'bad-answer' });
});

test('mistakes are read from a problem, and only from there', () => {
  const mistakes = [{ path: 'task.id', problem: 'is missing' }];
  assert.deepEqual(parseMistakes({ mistakes }), mistakes);
  for (const none of [undefined, null, 'text', {}, { mistakes: 'x' }]) assert.deepEqual(parseMistakes(none), []);
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
  asked = answerWith(200, { standing: 'paused' });
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
  const stand = (phase, standing, state = 'ok') => standOf({ phase, health: { state } }, standing);
  assert.equal(stand('collecting', 'running'), 'running');
  assert.equal(stand('collecting', 'paused', 'failing'), 'pausing');
  assert.equal(stand('paused', undefined), 'paused');
  assert.equal(stand('finished', 'running'), 'finished');
  assert.equal(stand('finished', 'stopped'), 'stopped');
  assert.equal(stand('selecting', undefined, 'waiting'), 'waiting');
  assert.equal(stand('collecting', 'running', 'failing'), 'failing');
  const operated = (phase, standing) => ({ phase, standing, health: { state: 'ok' } });
  assert.deepEqual(possible(operated('collecting', 'running')), ['pause', 'roll-back', 'export', 'stop']);
  assert.deepEqual(possible(operated('collecting', 'paused')), ['resume', 'roll-back', 'export', 'stop']);
  assert.deepEqual(possible(operated('finished', 'stopped')), ['export']);
  assert.deepEqual(earlier({ checkpoints: [0, 3, 4, 5], round: 5 }), [4, 3, 0]);
});

test('a chart is drawn anew for news only, and the operator’s part goes with the token', () => {
  const get = made();
  const first = parseOperated(get('/v1/admin/tasks/digits'));
  const tasks = [parseReport(get('/v1/tasks/digits')), parseReport(get('/v1/tasks/clinic'))];
  let state = withSeen(withList({ ...INITIAL, access: 'operator' }, tasks), {
    operated: first,
    status: parseStatus(get('/v1/admin/status')),
  });
  const { history } = state.task;
  state = withSeen(state, { operated: parseOperated(get('/v1/admin/tasks/digits')) });
  assert.equal(state.task.history, history);
  const judged = structuredClone(get('/v1/admin/tasks/digits'));
  judged.history[23].accuracy = 0.99;
  state = withSeen(state, { operated: parseOperated(judged) });
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
    sinceUnixSeconds: 0,
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
  assert.equal(decisionWords({ action: 'dance' }), 'dance');
  assert.match(doneWords('paused', 'collecting'), /once the round under way is completed/);
  assert.equal(doneWords('paused', 'selecting'), 'The task is paused.');
  const history = [
    { round: 4, accuracy: 0.912, loss: 0.31 },
    { round: 5, accuracy: null, loss: null },
  ];
  assert.equal(checkpointWords(4, history), 'Round 4: 91.2 %, loss 0.310');
  assert.equal(checkpointWords(5, history), 'Round 5');
  assert.equal(checkpointWords(0, history), 'The initial model');
  const report = parseReport(made()('/v1/tasks/digits'));
  assert.equal(phaseSentence(report), 'Clients are training; 21 of 32 updates are in. At most 38 s more.');
  assert.match(phaseSentence({ ...report, phase: 'selecting', clientsConnected: 0 }), /nobody is connected/);
});

test('every chart says what it shows', () => {
  const { history } = parseReport(made()('/v1/tasks/digits'));
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
