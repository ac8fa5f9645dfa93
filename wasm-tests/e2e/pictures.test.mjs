// Pictures of a visitor: decoded by the browser, and by native code for comparison.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { program } from './harness/paths.mjs';
import { setUp } from './harness/scene.mjs';

/** Largest mean difference of a picture between two decoders, in values from 0 to 1. */
const TOLERANCE = 2 / 255;
const [HEIGHT, WIDTH] = [24, 32];
const VALUES = 3 * HEIGHT * WIDTH;

/** `[task.data]`, in JSON and in TOML. */
const DESCRIPTION = { kind: 'image', height: HEIGHT, width: WIDTH, classes: ['gradient', 'shape'] };
const TABLE = Object.entries(DESCRIPTION)
  .map(([key, value]) => `${key} = ${JSON.stringify(value)}`)
  .join('\n');
const PICTURES = {
  id: 'pictures',
  model: `{ input = [3, ${HEIGHT}, ${WIDTH}], layers = [{ type = "flatten" }, { type = "linear", outputs = 2 }], loss = "softmax_cross_entropy" }`,
  learningRate: 0.1,
  minimumCohort: 1,
  cohort: 1,
  data: `[task.data]\n${TABLE}\n`,
  evaluation: '',
};

/** Files by their paths, in the order in which a folder is read: size, type, orientation. */
const FILES = {
  'gradient/1.jpg': { size: [320, 200], type: 'image/jpeg' },
  'gradient/2.png': { size: [37, 91], type: 'image/png' },
  'gradient/3.png': { size: [64, 64], type: 'image/png', opacity: 0.6 },
  'gradient/4.jpeg': { size: [9, 7], type: 'image/jpeg' },
  'gradient/5.jpg': { size: [97, 401], type: 'image/jpeg', quality: 0.6 },
  'shape/1.PNG': { size: [1000, 600], type: 'image/png' },
  'shape/2.jpg': { size: [200, 200], type: 'image/jpeg' },
};
// The same picture for every way to hold a camera.
for (let orientation = 1; orientation <= 8; orientation++) {
  FILES[`shape/turned-${orientation}.jpg`] = { size: [160, 96], type: 'image/jpeg', orientation };
}

/** A picture in Base64, drawn in the page: smooth, its left half red and its right half blue, with a round shape or without. */
function draw({ size: [width, height], type, quality = 0.92, opacity = 1 }, isShape) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  context.globalAlpha = opacity;
  const gradient = context.createLinearGradient(0, 0, width, height / 3);
  gradient.addColorStop(0, 'rgb(230, 40, 20)');
  gradient.addColorStop(0.4, 'rgb(200, 60, 60)');
  gradient.addColorStop(0.6, 'rgb(60, 80, 200)');
  gradient.addColorStop(1, 'rgb(20, 40, 240)');
  context.fillStyle = gradient;
  context.fillRect(0, 0, width, height);
  if (isShape) {
    const glow = context.createRadialGradient(width / 2, height / 2, 0, width / 2, height / 2, height / 3);
    glow.addColorStop(0, 'rgba(250, 250, 120, 1)');
    glow.addColorStop(0.9, 'rgba(90, 200, 90, 1)');
    glow.addColorStop(1, 'rgba(90, 200, 90, 0)');
    context.fillStyle = glow;
    context.fillRect(0, 0, width, height);
  }
  const address = canvas.toDataURL(type, quality);
  return address.slice(address.indexOf(',') + 1);
}

/** A JPEG whose EXIF data tell how the camera was held: one entry of one directory. */
function held(jpeg, orientation) {
  const tiff = Buffer.from('MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0', 'latin1');
  tiff.writeUInt16BE(orientation, 18);
  const content = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), tiff]);
  const marker = Buffer.from([0xff, 0xe1, 0, 2 + content.length]);
  return Buffer.concat([jpeg.subarray(0, 2), marker, content, jpeg.subarray(2)]);
}

describe('pictures', { concurrency: false }, () => {
  let set;
  let page;
  /** The bytes of each file, and its values as the browser and as native code see them. */
  const bytes = {};
  const browser = {};
  const native = {};

  before(async () => {
    set = await setUp(PICTURES);
    ({ page } = set);
    await page.evaluate(async (where) => {
      window.client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
      /** Files by their paths, and those of a list with their classes. */
      window.files = {};
      window.add = ([path, base64]) => {
        window.files[path] = new File([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], path);
      };
      window.images = (paths) => paths.map((path) => ({ file: window.files[path], label: path.split('/')[0] }));
    }, set.place);
    for (const [path, how] of Object.entries(FILES)) {
      const drawn = await page.evaluate(`(${draw})(${JSON.stringify(how)}, ${path.startsWith('shape')})`);
      await add(path, how.orientation ? held(Buffer.from(drawn, 'base64'), how.orientation) : Buffer.from(drawn, 'base64'));
    }
  });

  after(() => set?.end());

  /** Has a file of these bytes in the page and here. */
  async function add(path, content) {
    bytes[path] = content;
    await page.evaluate((file) => window.add(file), [path, content.toString('base64')]);
  }

  /** Has native code prepare a folder of files: its exit status, what it says, and the file that it writes. */
  function prepared(name, paths) {
    const folder = join(set.scene.folder, name);
    for (const path of paths) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), bytes[path]);
    }
    const [description, out] = ['description.json', `${name}.features`].map((file) => join(set.scene.folder, file));
    writeFileSync(description, JSON.stringify(DESCRIPTION));
    return { ...spawnSync(program('examples/prepared'), [description, folder, out], { encoding: 'utf8' }), out };
  }

  test('a browser prepares them as native code does', async (context) => {
    const { status, stderr, out } = prepared('pictures', Object.keys(FILES));
    assert.equal(status, 0, stderr);
    const values = new Float32Array(new Uint8Array(readFileSync(out)).buffer);
    const seen = await page.evaluate(async (files) => {
      const { features, labels, shape } = await window.client.read({ images: window.images(files) });
      return { features: [...features], labels: [...labels], shape: [...shape] };
    }, Object.keys(FILES));
    assert.deepEqual(
      seen.labels,
      Object.keys(FILES).map((path) => DESCRIPTION.classes.indexOf(path.split('/')[0])),
    );
    assert.deepEqual(seen.shape, [Object.keys(FILES).length, 3, HEIGHT, WIDTH]);
    assert.equal(values.length, seen.features.length);
    const differences = Object.keys(FILES).map((path, index) => {
      const part = [index * VALUES, (index + 1) * VALUES];
      [browser[path], native[path]] = [seen.features.slice(...part), values.slice(...part)];
      return browser[path].reduce((sum, value, at) => sum + Math.abs(value - native[path][at]), 0) / VALUES;
    });
    Object.keys(FILES).forEach((path, index) => {
      context.diagnostic(`${path}: ${(255 * differences[index]).toFixed(3)} / 255`);
    });
    for (const [index, path] of Object.keys(FILES).entries()) assert.ok(differences[index] <= TOLERANCE, path);
  });

  test('a picture is turned as its camera was held', () => {
    /** Mean of the red values of a half: the top or the left one. */
    const red = (values, half) => {
      const inside = values.slice(0, HEIGHT * WIDTH).filter((_, at) => (half === 'top' ? at < VALUES / 6 : at % WIDTH < WIDTH / 2));
      return inside.reduce((sum, value) => sum + value, 0) / inside.length;
    };
    const all = (values) => values.slice(0, HEIGHT * WIDTH).reduce((sum, value) => sum + value, 0) / (HEIGHT * WIDTH);
    // The left edge of the file comes to lie here (EXIF 2.32, table 6).
    const edges = [undefined, 'left', 'right', 'right', 'left', 'top', 'top', 'bottom', 'bottom'];
    for (let orientation = 1; orientation <= 8; orientation++) {
      const edge = edges[orientation];
      const half = ['left', 'right'].includes(edge) ? 'left' : 'top';
      for (const values of [browser, native].map((read) => read[`shape/turned-${orientation}.jpg`])) {
        const lead = red(values, half) - all(values);
        assert.ok(edge === half ? lead > 0.1 : lead < -0.1, `orientation ${orientation}: ${lead}`);
      }
    }
  });

  test('they are trained on', async () => {
    const outcome = await page.evaluate(async (files) => {
      await window.client.train({ images: window.images(files) });
      return (await window.sees(window.client, 'update')).outcome;
    }, Object.keys(FILES));
    assert.equal(outcome, 'accepted');
  });

  for (const [name, path, content] of [
    ['no picture at all', 'shape/broken.png', () => Buffer.from('not a picture')],
    ['an empty file', 'shape/empty.jpg', () => Buffer.alloc(0)],
    ['half a PNG file', 'shape/half.png', () => bytes['gradient/2.png'].subarray(0, bytes['gradient/2.png'].length / 2)],
    ['half a JPEG file', 'shape/half.jpg', () => bytes['shape/2.jpg'].subarray(0, bytes['shape/2.jpg'].length / 2)],
  ]) {
    test(`${name} is one error with its name, natively too, and the data before are trained on`, async () => {
      await add(path, content());
      const [failure, event, outcome] = await page.evaluate(
        async (files) => {
          const { round } = window.client.latest('update');
          const refused = await window.failure(window.client.train({ images: window.images(files) }));
          const next = await window.sees(window.client, 'update', (update) => update.round > round);
          return [refused, window.client.latest('error'), next.outcome];
        },
        ['gradient/1.jpg', path],
      );
      assert.equal(failure?.code, 'bad-dataset');
      assert.ok(failure.message.startsWith(`${path}: the picture cannot be decoded: `), failure.message);
      assert.equal(event, undefined, 'the call was told, so there is no event');
      assert.equal(outcome, 'accepted');
      const { status, stderr } = prepared(name, [path]);
      assert.equal(status, 1);
      assert.ok(stderr.includes(`${path}: the picture cannot be decoded: `), stderr);
    });
  }

  test('a class that the task does not know is refused with those that it knows', async () => {
    const failure = await page.evaluate(
      (files) => {
        const images = window.images(files).map(({ file }) => ({ file, label: 'shapes' }));
        return window.failure(window.client.train({ images }));
      },
      ['gradient/1.jpg'],
    );
    assert.equal(failure?.code, 'bad-dataset');
    assert.match(failure.message, /"shapes" is not a category; the task knows "gradient", "shape"\. Is it "shape"\?/);
  });
});
