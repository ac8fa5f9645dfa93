// Words and charts of a model’s quality, by the kind of its task.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkpointWords } from '../../../node_modules/.cache/fedra-demo/admin/words.js';
import { CHARTS, drawable, summary } from '../../../node_modules/.cache/fedra-demo/chart-kinds.js';
import { downloads } from '../../../node_modules/.cache/fedra-demo/downloads.js';
import { SHAPES } from '../../../node_modules/.cache/fedra-demo/generated/http-api.js';
import { check } from '../../../node_modules/.cache/fedra-demo/json.js';
import { HEADLINES, headlineOf, otherMetrics, partOf, shownClasses } from '../../../node_modules/.cache/fedra-demo/metrics.js';
import { INITIAL, withEvent } from '../../../node_modules/.cache/fedra-demo/state.js';
import { tenClasses } from '../fixtures/classes.mjs';

test('each kind of task has its first metric, with words and a chart', () => {
  assert.deepEqual(Object.keys(HEADLINES), SHAPES.Headline.words);
  const tokens = { round: 3, accuracy: 0.4, loss: 1, bits_per_token: 1.5, perplexity: 2.75 };
  assert.equal(headlineOf(tokens, 'bits_per_token'), 1.5);
  assert.equal(headlineOf(tokens, 'rmse'), null);
  assert.equal(checkpointWords(3, [tokens], 'bits_per_token'), 'Round 3: 1.500 bits a token, loss 1.000');
  assert.equal(checkpointWords(3, [{ round: 3, accuracy: null, loss: 4, rmse: 2 }], 'rmse'), 'Round 3: RMSE 2.00, loss 4.000');
  assert.deepEqual(drawable(CHARTS.bits_per_token, [tokens, { round: 4, accuracy: null, loss: null }]), [tokens]);
  assert.equal(summary(CHARTS.rmse, []), 'No rmse yet');
});

test('the other metrics are those that there are', () => {
  const tokens = { accuracy: 0.4, loss: 1, bits_per_token: 1.5, perplexity: 2.75 };
  assert.deepEqual(otherMetrics(tokens, 'bits_per_token'), [
    ['Accuracy', '40.0 %'],
    ['Perplexity', '2.75'],
  ]);
  assert.deepEqual(otherMetrics({ accuracy: null, loss: 1, rmse: 1, mae: 0.5, r2: -2 }, 'rmse'), [
    ['Mean error', '0.500'],
    ['R²', '-2.000'],
  ]);
  assert.deepEqual(otherMetrics({ accuracy: 0.5, loss: 1 }, 'accuracy'), []);
});

test('a client’s event brings the metrics that the server knows', () => {
  const model = { type: 'model', round: 2, sha256: 'x', bytes: 1, evaluatedRound: 2, loss: 1, bitsPerToken: 1.5, top5Accuracy: 0.9 };
  const [point] = withEvent(INITIAL, model).history;
  assert.deepEqual(point, { round: 2, accuracy: null, loss: 1, bits_per_token: 1.5, top_5_accuracy: 0.9 });
  assert.equal(check('Quality', point), point);
});

test('the newest model is offered in each format, with its card', () => {
  const offered = downloads('https://example.org/fed', 'digits', { sha256: 'ab', round: 7 });
  const files = offered.map(({ href, name }) => [href.replace('https://example.org/fed/v1/models/ab', ''), name]);
  assert.deepEqual(files, [
    ['', 'digits-7.safetensors'],
    ['?format=onnx', 'digits-7.onnx'],
    ['?format=pytorch', 'digits-7.pytorch.safetensors'],
    ['/card?format=markdown', 'digits-7.card.md'],
  ]);
});

test('of many classes the least found are shown, and one without examples last', () => {
  const few = tenClasses();
  assert.deepEqual(shownClasses(few), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const metrics = Array.from({ length: 14 }, (_, number) => ({
    examples: 1,
    recall: number === 3 ? null : 1 - number / 20,
    precision: null,
  }));
  assert.deepEqual(shownClasses({ metrics, confusion: [] }), [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 2, 1]);
  assert.equal(partOf(3, [3, 9]), 0.25);
  assert.equal(partOf(0, [0, 0]), 0);
});
