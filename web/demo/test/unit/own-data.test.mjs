// A visitor's own files: the classes of pictures, and previews of what the model sees.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  classOf,
  countWords,
  keptWords,
  labelled,
  labelsOf,
  picturePreviews,
  previewWords,
  tablePreview,
  trainingFiles,
} from '../../../node_modules/.cache/fedra-demo/own-data.js';

test('a picture has the class of its innermost folder that is called by one', () => {
  const classes = ['cat', 'dog'];
  assert.equal(classOf('pictures/cat/tom.jpg', classes), 'cat');
  assert.equal(classOf('dog/cat/tom.jpg', classes), 'cat');
  assert.equal(classOf('dog/old/rex.jpg', classes), 'dog');
  assert.equal(classOf('pictures/tom.jpg', classes), undefined);
  assert.equal(classOf('cat', classes), undefined, 'a file is no folder');
});

test('pictures are ready once each has a class', () => {
  const [tom, rex] = [{ name: 'tom' }, { name: 'rex' }];
  const picked = [
    { file: tom, path: 'cat/tom.jpg' },
    { file: rex, path: 'rex.jpg' },
  ];
  assert.equal(labelled(picked, ['cat', 'dog'], undefined), undefined);
  assert.deepEqual(labelled(picked, ['cat', 'dog'], 'dog'), {
    images: [
      { file: tom, label: 'cat' },
      { file: rex, label: 'dog' },
    ],
  });
  assert.equal(labelled([], ['cat'], 'cat'), undefined);
});

test('arrays have their labels in the archive, or in the file that is called so', () => {
  const picked = (...names) => names.map((name) => ({ file: { name }, path: name }));
  const files = (...names) => {
    const all = picked(...names);
    const { files, labels } = trainingFiles(all, labelsOf(all));
    return [files.map(({ name }) => name), labels?.name];
  };
  assert.deepEqual(files('all.npz'), [['all.npz'], undefined]);
  assert.deepEqual(files('labels.npy', 'x.npy'), [['x.npy'], 'labels.npy']);
  assert.deepEqual(files('y_train.npy', 'x_train.npy'), [['x_train.npy'], 'y_train.npy']);
  assert.deepEqual(files('one.npy', 'two.npy'), [['one.npy'], 'two.npy']);
});

test('a table is shown with the names of its features and the words of its targets', () => {
  const columns = [
    { name: 'age', type: 'number' },
    { name: 'income', type: 'category', values: ['low', 'high'] },
  ];
  const read = {
    features: Float32Array.of(-1, 0.1234567, 1, 0, 0.5, 1e-9),
    labels: Uint32Array.of(0, 1, 2),
    shape: Uint32Array.of(3, 2),
    names: ['age', 'age (missing)'],
  };
  assert.deepEqual(tablePreview(read, { kind: 'table', columns, target: 'income' }), {
    shown: 3,
    features: [
      { name: 'age', values: ['−1', '1', '0.5'] },
      { name: 'age (missing)', values: ['0.123', '0', '0'] },
    ],
    more: 0,
    targets: [{ name: 'income', values: ['low', 'high', '(other)'] }],
  });
});

test('several targets stand row by row; five examples and forty features are shown', () => {
  const columns = ['wind', 'sun', 'rain'].map((name) => ({ name, type: name === 'sun' ? 'boolean' : 'number' }));
  const read = {
    features: new Float32Array(9 * 50),
    labels: Float32Array.from({ length: 18 }, (_, index) => (index % 2 ? 1 : index)),
    shape: Uint32Array.of(9, 50),
  };
  const { shown, features, more, targets } = tablePreview(read, { kind: 'table', columns, target: ['rain', 'sun'] });
  assert.deepEqual([shown, features.length, more, features[39].name], [5, 40, 10, 'Feature 40']);
  assert.deepEqual(targets, [
    { name: 'rain', values: ['0', '2', '4', '6', '8'] },
    { name: 'sun', values: ['true', 'true', 'true', 'true', 'true'] },
  ]);
});

test('pictures keep their colours, and normalised channels are stretched to what can be seen', () => {
  const [red, green, blue] = [1, 0.5, 0];
  const plain = { features: Float32Array.of(red, 0, green, 0, blue, 1), labels: Uint32Array.of(1), shape: Uint32Array.of(1, 3, 1, 2) };
  const [picture] = picturePreviews(plain, ['cat', 'dog']);
  assert.deepEqual([picture.label, picture.width, picture.height], ['dog', 2, 1]);
  assert.deepEqual([...picture.pixels], [255, 128, 0, 255, 0, 0, 255, 255]);
  const grey = { features: Float32Array.of(-2, 2, 0, 1), labels: Uint32Array.of(0, 1), shape: Uint32Array.of(2, 1, 1, 2) };
  const shades = picturePreviews(grey, ['cat', 'dog']).map(({ pixels }) => [pixels[0], pixels[1], pixels[2], pixels[4]]);
  assert.deepEqual(shades, [
    [0, 0, 0, 255],
    [128, 128, 128, 191],
  ]);
});

test('counts, sizes and ages have words', () => {
  assert.equal(previewWords(1, 1, 'table', false), '1 row, as the model sees it');
  assert.equal(previewWords(5, 40, 'table', false), 'The first 5 of 40 rows, as the model sees them');
  assert.equal(previewWords(5, 20_000, 'table', true), '5 of 20\u202f000 rows, drawn by chance, as the model sees them');
  assert.equal(countWords(1, 'text'), '1 stretch of text');
  assert.equal(previewWords(3, 3, 'image', false), '3 pictures, as the model sees them');
  const since = new Date(2026, 4, 3);
  assert.equal(keptWords({ files: 1, bytes: 1_234_567, since }, 'en-GB'), '1 file, 1.2 MB, since 3 May 2026');
});
