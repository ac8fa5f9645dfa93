import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contextOf, draw, Tokens } from '../../../node_modules/.cache/fedra-demo/sampling.js';

const all = () => true;

test('an alphabet makes a token of each character, and of any other the last one or none', () => {
  const strict = new Tokens({ alphabet: 'ab—' });
  assert.equal(strict.count, 3);
  assert.deepEqual(strict.encode('a—b!'), [0, 2, 1]);
  assert.equal(strict.decode([2, 0, 1]), '—ab');
  const open = new Tokens({ alphabet: 'ab—', other: true });
  assert.equal(open.count, 4);
  assert.deepEqual(open.encode('a!'), [0, 3]);
  assert.equal(open.decode([0, 3, 1]), 'ab');
  assert.deepEqual([open.hasText(2), open.hasText(3)], [true, false]);
});

test('without an alphabet tokens are the bytes of the text', () => {
  const bytes = new Tokens({});
  assert.equal(bytes.count, 256);
  assert.deepEqual(bytes.encode('é'), [195, 169]);
  assert.equal(bytes.decode([195, 169, 33]), 'é!');
  assert.ok(bytes.hasText(255));
});

test('the context is the newest tokens from its start, and names the place of the last one', () => {
  assert.deepEqual(contextOf([7, 8], 4), { input: Uint32Array.of(7, 8, 0, 0), last: 1 });
  assert.deepEqual(contextOf([5, 6, 7, 8, 9], 4), { input: Uint32Array.of(6, 7, 8, 9), last: 3 });
  assert.deepEqual(contextOf([], 2), { input: Uint32Array.of(0, 0), last: 0 });
  // A model with one output has it after the last position.
  assert.deepEqual(contextOf([7, 8], 4, 1), { input: Uint32Array.of(0, 0, 7, 8), last: 0 });
});

test('at temperature 1 a class is drawn as often as its probability says', () => {
  const probabilities = Float32Array.of(0.1, 0.6, 0.3);
  const drawn = [0, 0, 0];
  for (let chance = 0; chance < 1000; chance++) drawn[draw(probabilities, 1, (chance + 0.5) / 1000, all)]++;
  assert.deepEqual(drawn, [100, 600, 300]);
});

test('a low temperature favours the likely, a high one the unlikely, and 0 takes the likeliest', () => {
  const probabilities = Float32Array.of(0.2, 0.8);
  const share = (temperature) => {
    let first = 0;
    for (let chance = 0; chance < 1000; chance++) if (draw(probabilities, temperature, (chance + 0.5) / 1000, all) === 0) first++;
    return first / 1000;
  };
  // 0.2^2 / (0.2^2 + 0.8^2), and the same with square roots.
  assert.ok(Math.abs(share(0.5) - 1 / 17) < 0.002, `${share(0.5)}`);
  assert.ok(Math.abs(share(2) - 1 / 3) < 0.002, `${share(2)}`);
  assert.equal(share(0), 0);
});

test('a class that is not allowed is never drawn, however likely', () => {
  const probabilities = Float32Array.of(0.9, 0.07, 0.03);
  const allowed = (id) => id !== 0;
  for (const temperature of [0, 0.2, 1, 1.5]) {
    for (const chance of [0, 0.3, 0.69, 0.71, 0.999]) assert.notEqual(draw(probabilities, temperature, chance, allowed), 0);
  }
  assert.equal(draw(probabilities, 1, 0.69, allowed), 1);
  assert.equal(draw(probabilities, 1, 0.71, allowed), 2);
});
