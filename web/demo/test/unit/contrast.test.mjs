// Contrast of the palette, by WCAG 2 AA: 4.5 for text, 3 for everything else.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const css = readFileSync(new URL('../../src/styles.css', import.meta.url), 'utf8');
const [light, dark] = [...css.matchAll(/:root \{([^}]*)\}/g)].map(([, block]) =>
  Object.fromEntries([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value])),
);

function luminance(hex) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

for (const [scheme, colours] of [
  ['light', light],
  ['dark', dark],
]) {
  for (const [front, back, least] of [
    ['ink', 'paper', 4.5],
    ['ink', 'sheet', 4.5],
    ['ink-soft', 'paper', 4.5],
    ['ink-soft', 'sheet', 4.5],
    ['accent', 'paper', 4.5],
    ['accent', 'sheet', 4.5],
    ['ink', 'line', 4.5],
    ['accent-strong', 'paper', 4.5],
    ['on-accent', 'accent', 4.5],
    ['on-accent', 'accent-strong', 4.5],
    ['bad', 'paper', 4.5],
    ['ink-soft', 'line', 3],
    ['accent', 'line', 3],
  ]) {
    test(`${scheme}: ${front} on ${back} has at least ${least}`, () => {
      const found = contrast(colours[front], colours[back]);
      assert.ok(found >= least, found.toFixed(2));
    });
  }
}
