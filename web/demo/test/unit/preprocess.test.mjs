import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SIDE, toDigit } from '../../../node_modules/.cache/fedra-demo/preprocess.js';

/** A drawing of the given size with a filled rectangle. */
function drawing(size, left, top, width, height) {
  const ink = new Uint8Array(size * size);
  for (let y = top; y < top + height; y++) ink.fill(255, y * size + left, y * size + left + width);
  return ink;
}

function inked(digit) {
  const found = [];
  digit.forEach((value, index) => value > 0.01 && found.push([index % SIDE, Math.floor(index / SIDE)]));
  const [xs, ys] = [found.map(([x]) => x), found.map(([, y]) => y)];
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}

test('an empty drawing is no digit', () => {
  assert.equal(toDigit(new Uint8Array(100), 10, 10), null);
});

test('a square fills 20 by 20 in the middle, wherever and however large it was drawn', () => {
  for (const [left, top, side] of [
    [0, 0, 40],
    [150, 30, 40],
    [10, 10, 200],
    [100, 100, 7],
  ]) {
    const digit = toDigit(drawing(224, left, top, side, side), 224, 224);
    assert.equal(digit.length, SIDE * SIDE);
    assert.deepEqual(inked(digit), { left: 4, right: 23, top: 4, bottom: 23 });
    assert.ok(digit.every((value) => value >= 0 && value <= 1));
    assert.ok(Math.abs(digit[14 * SIDE + 14] - 1) < 1e-6);
  }
});

test('a tall stroke keeps its aspect', () => {
  const box = inked(toDigit(drawing(224, 30, 10, 20, 200), 224, 224));
  assert.deepEqual(box, { left: 13, right: 14, top: 4, bottom: 23 });
});

test('the mass is centred, not the box', () => {
  // A bar on the left with a thin tail to the right.
  const ink = drawing(200, 20, 20, 30, 160);
  for (let x = 20; x < 180; x++) ink[100 * 200 + x] = 255;
  const { left } = inked(toDigit(ink, 200, 200));
  assert.equal(left, 8);
});

test('ink is averaged: half grey stays half grey', () => {
  const ink = new Uint8Array(64 * 64).fill(128);
  const digit = toDigit(ink, 64, 64);
  assert.ok(Math.abs(digit[14 * SIDE + 14] - 128 / 255) < 1e-6);
});
