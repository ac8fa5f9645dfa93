// Figures and texts of the element.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesIn, epsilonIn, limitIn } from '../dist/element/figures.js';
import { filled, stringsOf } from '../dist/element/strings.js';

test('a cost never looks smaller than it is, and a limit is as it was set', () => {
  assert.deepEqual(
    [0, 0.001, 1.1, 1.2301, 12].map((value) => epsilonIn('en', value)),
    ['0', '0.01', '1.1', '1.24', '12'],
  );
  assert.equal(epsilonIn('de', 1.24), '1,24');
  assert.equal(limitIn('en', 7.999), '7.999');
});

test('bytes have the unit of their size', () => {
  assert.deepEqual(
    [0, 999, 1000, 796_840, 3_200_000, 5e12].map((bytes) => bytesIn('en', bytes).replace('\u00a0', ' ')),
    ['0 byte', '999 byte', '1 kB', '796.8 kB', '3.2 MB', '5,000 GB'],
  );
});

test('a text is the page’s, or of the language, or English', () => {
  assert.equal(stringsOf('de-AT').takePart, 'Teilnehmen'); // cspell:disable-line
  assert.equal(stringsOf('fr').takePart, 'Take part');
  const changed = stringsOf('en', { pause: 'Stop', states: { training: 'Computes' } });
  assert.deepEqual(
    [changed.pause, changed.resume, changed.states.training, changed.states.paused],
    ['Stop', 'Go on', 'Computes', 'Paused'],
  );
  assert.equal(filled('{step} of {steps}, {other}', { step: 1, steps: 2 }), '1 of 2, {other}');
});
