// Texts on protection, their figures and limits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check } from '../../../node_modules/.cache/fedra-demo/json.js';
import { floorsOf, fromTerms, isBudgetSpent, isUsedUp, protectionOf } from '../../../node_modules/.cache/fedra-demo/privacy.js';
import {
  consentWords,
  epsilon,
  exampleWords,
  howWords,
  limit,
  meaningWords,
  oneIn,
  policyLabel,
  promise,
  shortWords,
  trustWords,
} from '../../../node_modules/.cache/fedra-demo/privacy-words.js';
import { INITIAL, takesPart, trainedShare, withEvent, withTask, withTaskChosen } from '../../../node_modules/.cache/fedra-demo/state.js';
import { cohortWords, phaseWords, roundSteps, stateWords } from '../../../node_modules/.cache/fedra-demo/words.js';

const plain = {
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
  rounds_total: 10,
  history: [],
  privacy: null,
  gate: null,
};
const privacy = {
  policy: 'distributed',
  epsilon: 8,
  delta: 1e-5,
  spent_epsilon: 2.5,
  round_epsilon: 0.9,
  noise_multiplier: 1.1,
  clipping_norm: 0.8,
  target_quantile: null,
  minimum_survivors: 80,
  colluders: 4,
  max_participations: 10,
  counts_subjects: true,
  debits: 2,
  subjects: 90,
};
const hidden = { ...plain, id: 'hidden', privacy };
const event = {
  type: 'privacy',
  policy: 'distributed',
  secureAggregation: true,
  noiseMultiplier: 1.1,
  clippingNorm: 0.5,
  minimumSurvivors: 80,
  colluders: 4,
  delta: 1e-5,
  budgetEpsilon: 8,
  roundEpsilon: 0.9,
  spentEpsilon: 1.2,
  nextEpsilon: 1.5,
  participations: 2,
  maxParticipations: 10,
  taskSpentEpsilon: 2.6,
  examplePrivacy: null,
};
const terms = (more) => fromTerms({ ...event, ...more });
const policies = ['distributed', 'local', 'central', 'none'];
const termsOf = (policy) => terms({ policy, secureAggregation: policy === 'distributed' });

test('a task’s terms are read; what is missing or unknown is a mistake, not a promise', () => {
  assert.equal(check('Task', hidden).privacy, privacy);
  assert.equal(check('Task', plain).privacy, null);
  for (const broken of [
    undefined,
    { ...privacy, policy: 'strong' },
    { ...privacy, epsilon: null },
    { ...privacy, spent_epsilon: undefined },
    { ...privacy, delta: '1e-5' },
    'yes',
  ]) {
    assert.throws(() => check('Task', { ...plain, privacy: broken }), { code: 'bad-answer' });
  }
});

test('before the check-in the task’s answer counts, after it the client’s own', () => {
  assert.equal(protectionOf(INITIAL), undefined);
  const before = protectionOf(withTask(INITIAL, hidden));
  assert.deepEqual(
    [before.policy, before.sumsOnly, before.budget, before.round, before.taskSpent, before.spent],
    ['distributed', true, 8, 0.9, 2.5, null],
  );
  const state = withEvent(withTask(INITIAL, hidden), event);
  const after = protectionOf(state);
  assert.deepEqual([after.spent, after.next, after.participations, after.taskSpent, after.colluders], [1.2, 1.5, 2, 2.6, 4]);
  const silent = protectionOf(withEvent(state, { ...event, taskSpentEpsilon: null }));
  assert.equal(silent.taskSpent, 2.5, 'as long as the client has not heard of it');
  assert.equal(protectionOf(withTask(INITIAL, plain)).policy, 'none');
});

test('what was shown before the click is what the client insists on', () => {
  assert.equal(floorsOf(null), undefined);
  assert.deepEqual(floorsOf(privacy), { minNoiseMultiplier: 1.1, minCohort: 76, maxEpsilon: 8, requireSecureAggregation: true });
  assert.equal(floorsOf({ ...privacy, policy: 'central' }).requireSecureAggregation, false);
  assert.equal(floorsOf({ ...privacy, policy: 'local', minimum_survivors: 1, colluders: 1 }).minCohort, 1);
});

test('no two policies are told in the same words', () => {
  for (const words of [promise, howWords, trustWords, (given) => shortWords(given).text, ({ policy }) => policyLabel(policy)]) {
    assert.equal(new Set(policies.map((policy) => words(termsOf(policy)))).size, policies.length);
  }
});

test('distributed: only sums, of how many, and the server’s remaining power', () => {
  assert.match(howWords(terms()), /share of the noise.*masks it.*sum of at least 80 people’s/);
  assert.match(trustWords(terms()), /only sums of at least 80 people’s.*hands out this page’s code.*clients of its own.*even if 4 others/);
  assert.match(trustWords(terms({ colluders: 1 })), /even if 1 other in a round tells/);
  assert.match(trustWords(terms({ colluders: 0 })), /as long as none of the others/);
  assert.match(howWords(terms({ minimumSurvivors: null })), /sum of many people’s/);
});

test('distributed without secure aggregation is not told as if it had it', () => {
  const bare = terms({ secureAggregation: false });
  assert.doesNotMatch(
    `${promise(bare)} ${howWords(bare)} ${trustWords(bare)} ${shortWords(bare).text}`,
    /sees only sums|, masks it,|hide your change/,
  );
  assert.equal(shortWords(bare).lead, 'Be aware:');
});

test('local trusts nobody but the page’s code, central the server, none is called nothing', () => {
  assert.match(trustWords(termsOf('local')), /^Nobody who receives your change\..*page’s code/);
  assert.match(trustWords(termsOf('central')), /^The server\. It sees your change before the noise/);
  assert.match(meaningWords(termsOf('central')), /somebody who sees only the shared model/);
  assert.equal(promise(termsOf('none')), 'Nothing');
  assert.equal(shortWords(termsOf('none')).lead, 'Be aware:');
  assert.match(shortWords(termsOf('none')).text, /the server can read each tab’s change/);
});

test('an epsilon is never shown smaller than it is; a limit is shown as it was set', () => {
  assert.deepEqual([0, 1.24, 1.241, 1.1, 0.0001, 9.999, 12.31, 250.2].map(epsilon), [
    '0',
    '1.24',
    '1.25',
    '1.10',
    '0.01',
    '10.00',
    '12.4',
    '251',
  ]);
  assert.deepEqual([8, 2.5, 7.125].map(limit), ['8', '2.5', '7.125']);
  assert.equal(oneIn(1e-5), '1\u00a0in\u00a0100\u202f000');
});

test('what epsilon means is said with the visitor’s own figure and with the limit', () => {
  // e^1.2 = 3.3201, e^8 = 2980.96
  assert.match(
    meaningWords(terms()),
    /With your ε of 1\.20, that is at most 3\.4-fold, apart from a chance of 1.in.100.000\. At the task’s limit of 8 it is 2.981-fold\.$/,
  );
  assert.match(meaningWords(terms({ spentEpsilon: 0 })), /those odds\. At the task’s limit of 8 it is 2.981-fold, apart from/);
  assert.match(meaningWords(terms({ budgetEpsilon: 30 })), /no protection to speak of/);
  assert.equal(exampleWords(terms()), undefined);
  assert.match(
    exampleWords(terms({ examplePrivacy: { epsilon: 3, delta: 1e-6 } })),
    /every single example with ε 3\.00 .*not about you as a whole/,
  );
});

test('the question names what leaves, the cost and whom one trusts', () => {
  const fresh = consentWords(terms({ participations: 0, spentEpsilon: 0, nextEpsilon: 0.9 }));
  assert.deepEqual(
    fresh.map(({ name }) => name),
    ['What leaves', 'What it costs', 'Who you trust'],
  );
  assert.match(
    fresh[1].text,
    /^A round taken alone costs you ε 0\.90\. You can take part in 10 rounds\. The task ends before anybody’s total passes ε 8 \(apart from a chance of 1.in.100.000\)\.$/,
  );
  assert.match(consentWords(terms())[1].text, /so far cost 1\.20; after the next it is 1\.50\. You can take part in 8 more rounds\./);
});

test('a browser is used up at its limit; a task that ends early has spent its budget', () => {
  assert.equal(isUsedUp({ privacy: undefined }), false);
  assert.equal(isUsedUp({ privacy: event }), false);
  assert.equal(isUsedUp({ privacy: { ...event, participations: 10 } }), true);
  assert.equal(isUsedUp({ privacy: { ...event, maxParticipations: null, participations: 99 } }), false);
  const used = { ...INITIAL, stage: 'running', privacy: { ...event, participations: 10 }, status: { type: 'status', state: 'waiting' } };
  assert.equal(stateWords(used), 'Your part is done');

  const spent = (task, round) => isBudgetSpent({ task, round, privacy: undefined });
  assert.equal(spent(hidden), false);
  assert.equal(spent({ ...hidden, state: 'finished' }), true);
  assert.equal(spent({ ...hidden, state: 'finished', round: 10 }), false, 'all its rounds are done');
  assert.equal(spent({ ...plain, state: 'finished' }), false);
  assert.equal(spent({ ...hidden, state: 'stopped' }, { phase: 'finished', round: 4, roundsTotal: 10 }), false, 'the operator ended it');
  assert.equal(spent(hidden, { phase: 'finished', round: 4, roundsTotal: 10 }), true);
});

test('the masked steps of a round have their words, and only a masked task shows them', () => {
  const round = (phase) => ({
    type: 'round',
    round: 1,
    attempt: 0,
    phase,
    cohort: 8,
    reported: 3,
    left: 1,
    reportGoal: 7,
    clientsConnected: 9,
  });
  const state = (phase, own) => ({
    ...INITIAL,
    stage: 'running',
    privacy: event,
    round: round(phase),
    status: { type: 'status', state: own, round: 1 },
  });
  assert.equal(cohortWords(state('sharing', 'sharing')), 'You and 7 others agree on masks that cancel out in the sum, 1 left.');
  assert.equal(cohortWords(state('masking', 'uploading')), 'You and 7 others send masked changes; 3 of 7 are in, 1 left.');
  assert.match(cohortWords(state('unmasking', 'unmasking')), /open the sum, which is all the server can read/);
  for (const own of ['sharing', 'uploading', 'unmasking', 'reported']) {
    assert.ok(takesPart(state('masking', own)), own);
    assert.equal(trainedShare(state('masking', own)), 1);
  }
  assert.equal(takesPart(state('selecting', 'consent')), false);
  assert.equal(stateWords(state('selecting', 'consent')), 'Waiting for your consent');
  assert.equal(stateWords(state('masking', 'uploading')), 'Sending the masked change');
  assert.equal(stateWords({ ...state('collecting', 'uploading'), privacy: undefined }), 'Sending the change');
  assert.equal(new Set(['sharing', 'masking', 'unmasking'].map((phase) => phaseWords(round(phase)))).size, 3);

  const names = (steps) => steps.map(({ name, when }) => `${name} ${when}`).join(', ');
  assert.equal(names(roundSteps(round('masking'), true)), 'Gather done, Train done, Keys done, Masks now, Unmask later, Average later');
  assert.equal(names(roundSteps(round('finalizing'), false)), 'Gather done, Train done, Average now');
  assert.equal(names(roundSteps(undefined, false)), 'Gather later, Train later, Average later');
  assert.equal(names(roundSteps(round('finished'), false)), 'Gather done, Train done, Average done');
});

test('a no ends where the click began; another task starts from nothing but the digits', () => {
  const asked = {
    ...INITIAL,
    stage: 'running',
    asking: event,
    privacy: event,
    kind: 'digits',
    examples: 600,
    shard: 3,
    tasks: [plain, hidden],
  };
  let state = withEvent(asked, { type: 'error', code: 'privacy-declined', message: 'm', fatal: true });
  state = withEvent(state, { type: 'status', state: 'closed' });
  assert.deepEqual([state.stage, state.asking, state.problem, state.notice.code], ['before', undefined, undefined, 'privacy-declined']);
  const crashed = withEvent(asked, { type: 'error', code: 'worker-failed', message: 'm', fatal: true });
  assert.deepEqual([crashed.stage, crashed.asking], ['ended', undefined]);
  const chosen = withTaskChosen(asked, 'hidden');
  assert.deepEqual([chosen.stage, chosen.examples, chosen.shard, chosen.privacy, chosen.asking], ['before', 600, 3, undefined, undefined]);
  assert.equal(chosen.tasks.length, 2);
  const data = { kind: 'text', context: 64 };
  const other = withTaskChosen({ ...asked, tasks: [{ ...plain, id: 'text', data }] }, 'text');
  assert.deepEqual([other.kind, other.data.data, other.data.parts, other.examples, other.shard], ['text', data, [], 0, undefined]);
  assert.equal(withTaskChosen(asked, 'not listed').kind, undefined);
});
