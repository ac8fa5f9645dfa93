// The place for a visitor's own files in a real browser, with a made-up session.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { hasText, withPage } from '../harness/browser.mjs';
import { buildPages, servePages, visitors } from '../harness/serve.mjs';

const FIXTURE = 'test/fixtures/own-data.html';
const TABLE = {
  kind: 'table',
  columns: [
    { name: 'age', type: 'number' },
    { name: 'income', type: 'category', values: ['low', 'high'] },
  ],
  target: 'income',
};
const IMAGES = { kind: 'image', classes: ['cat', 'dog'] };

let built;
let site;
before(async () => {
  built = await buildPages({ own: fileURLToPath(new URL(`../../${FIXTURE}`, import.meta.url)) });
  site = await servePages(built.folder, visitors);
});
after(async () => {
  await site?.close();
  built?.remove();
});

/** Opens the page with a task of these data. */
const withData = (description, body, { kept, ...context } = {}) =>
  withPage(
    FIXTURE,
    async (page) => {
      await page.waitForFunction(() => window.show);
      await page.evaluate(
        ([data, earlier]) => window.show(data, earlier && { ...earlier, since: new Date(earlier.since) }),
        [description, kept],
      );
      await page.locator('#own').waitFor();
      await body(page);
    },
    { at: site, ...context },
  );

const csv = (name = 'people.csv', text = 'age,income\n41,low\n') => ({ name, mimeType: 'text/csv', buffer: Buffer.from(text) });
const picture = (name) => ({ name, mimeType: 'image/png', buffer: Buffer.from(name) });

/** The newest call of the session with this name, once there are `count` of it. */
const call = async (page, name, count = 1) => {
  await page.waitForFunction(([wanted, many]) => window.calls.filter(({ name: own }) => own === wanted).length >= many, [name, count]);
  return page.evaluateHandle((wanted) => window.calls.findLast(({ name: own }) => own === wanted), name);
};

/** Answers a reading of a table with `rows` rows. */
const readTable = (page, rows = 2, count = 1) =>
  call(page, 'read', count).then((reading) =>
    reading.evaluate(({ onReading, answer }, many) => {
      onReading({ bytes: 9, total: 9, examples: many });
      const features = Float32Array.from({ length: many * 2 }, (_, index) => index / 8);
      answer({ features, labels: new Uint32Array(many).fill(1), shape: Uint32Array.of(many, 2), names: ['age', 'age (missing)'] });
    }, rows),
  );

test('a chosen table is shown as the model sees it, and given to the client', () =>
  withData(TABLE, async (page) => {
    await page.setInputFiles('input.files', csv());
    const reading = await call(page, 'read');
    assert.deepEqual(await reading.evaluate(({ files, options }) => ({ files, options })), {
      files: [['people.csv', undefined]],
      options: { timeout: Infinity, decimal: '.', maxExamples: 1000 },
    });
    await reading.evaluate(({ onReading }) => onReading({ bytes: 50, total: 100, examples: 1234 }));
    await hasText(page, '.own .progress small', /^1\u202f234 rows, 50 %$/);
    await readTable(page);
    await hasText(page, '.preview h3', /^2 rows, as the model sees them$/);
    assert.deepEqual(await page.locator('.preview tbody tr').allInnerTexts(), [
      'age\t0\t0.25',
      'age (missing)\t0.125\t0.375',
      'income\thigh\thigh',
    ]);
    await page.click('#own-train');
    const training = await call(page, 'train');
    assert.deepEqual(await training.evaluate(({ files, options }) => [files, options.maxExamples]), [
      [['people.csv', undefined]],
      undefined,
    ]);
    await training.evaluate(({ answer }) => answer());
    await hasText(page, '.own [role="status"]', /trains on your files/);
    assert.equal(await page.evaluate(() => window.taken), 1);
    assert.equal(await page.locator('.kept').count(), 0, 'nothing is kept unless that is wanted');
  }));

test('files are kept if the visitor wants that, shown with their size, and forgotten', () =>
  withData(TABLE, async (page) => {
    await page.setInputFiles('input.files', csv());
    await readTable(page);
    await page.check('.preview input');
    await page.click('#own-train');
    await (await call(page, 'train')).evaluate(({ answer }) => answer());
    await hasText(page, '#own-kept', /^1 file, 18 B, since /);
    await page.click('#own-forget');
    await page.locator('.kept').waitFor({ state: 'detached' });
    assert.equal(await page.evaluate(() => document.activeElement.id), 'own', 'the focus stays here');
  }));

test('what an earlier visit has kept is offered, and trained on', () =>
  withData(
    TABLE,
    async (page) => {
      await hasText(page, '#own-kept', /^2 files, 1\.2 MB, since /);
      await page.click('#own-train-kept');
      await (await call(page, 'trainKept')).evaluate(({ refuse }) => refuse('bad-dataset', 'people.csv, line 1: the header has no "job"'));
      await hasText(page, '.own .message p', /^People\.csv, line 1: the header has no "job"\.$/);
      await page.click('#own-train-kept');
      await (await call(page, 'trainKept', 2)).evaluate(({ answer }) => answer());
      await page.waitForFunction(() => window.taken === 1);
      assert.equal(await page.locator('.own .message').count(), 0);
    },
    { kept: { files: 2, bytes: 1_234_567, since: '2026-05-03' } },
  ));

test('a mistake is told with its place, and the decimal sign can be said', () =>
  withData(TABLE, async (page) => {
    await page.setInputFiles('input.files', csv('people.csv', 'age;income\n41,5;low\n'));
    const mistake = 'people.csv, line 2, column "age": "41,5" is not a number';
    await (await call(page, 'read')).evaluate(({ refuse }, message) => refuse('bad-dataset', message), mistake);
    await hasText(page, '.own [role="alert"]', /These files do not fit the task.*line 2, column "age": "41,5" is not a number/s);
    await page.selectOption('.own select', ',');
    await readTable(page, 1, 2);
    await hasText(page, '.preview h3', /^1 row, as the model sees it$/);
    assert.equal(await page.evaluate(() => window.calls[1].options.decimal), ',');
    assert.equal(await page.locator('.own .message').count(), 0);
  }));

test('a reading is stopped, and files that the browser has no room for are trained on', () =>
  withData(TABLE, async (page) => {
    await page.setInputFiles('input.files', csv());
    await page.click('#own-stop');
    await page.locator('#own-stop').waitFor({ state: 'detached' });
    assert.equal(await page.locator('.own .message').count(), 0, 'the visitor has stopped it');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'own');
    await page.setInputFiles('input.files', csv());
    await readTable(page, 2, 2);
    await page.check('.preview input');
    await page.evaluate(() => (window.full = true));
    await page.click('#own-train');
    await (await call(page, 'train')).evaluate(({ answer }) => answer());
    await hasText(page, '.own .message', /The files are not kept.*no room/s);
    assert.equal(await page.evaluate(() => window.taken), 1);
  }));

test('pictures without a class wait for one, and are drawn as the model sees them', () =>
  withData(IMAGES, async (page) => {
    await page.setInputFiles('input.files', [picture('tom.png'), picture('rex.png'), csv()]);
    await hasText(page, '.own .choice', /^\s*2 pictures of/);
    assert.equal(await page.evaluate(() => window.calls.length), 0);
    await page.selectOption('.own select', 'dog');
    const reading = await call(page, 'read');
    assert.deepEqual(await reading.evaluate(({ files }) => files), [
      ['tom.png', 'dog'],
      ['rex.png', 'dog'],
    ]);
    await reading.evaluate(({ answer }) => {
      const features = Float32Array.of(1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1);
      answer({ features, labels: Uint32Array.of(1, 1), shape: Uint32Array.of(2, 3, 1, 2) });
    });
    await hasText(page, '.preview h3', /^2 pictures, as the model sees them$/);
    const pixels = await page
      .locator('.gallery canvas')
      .evaluateAll((all) => all.map((canvas) => [...canvas.getContext('2d').getImageData(0, 0, 2, 1).data]));
    assert.deepEqual(pixels, [
      [255, 0, 0, 255, 0, 255, 0, 255],
      [0, 255, 0, 255, 0, 0, 255, 255],
    ]);
    assert.equal(await page.locator('.gallery canvas').first().getAttribute('aria-label'), 'A picture of dog, 2 by 1 pixels');
  }));

test('arrays are read with their labels, counted, and given to the client', () =>
  withData({ kind: 'array', shape: [2], dtype: 'float32' }, async (page) => {
    const file = (name) => ({ name, mimeType: '', buffer: Buffer.from('numbers') });
    await page.setInputFiles('input.files', [file('first.npy'), file('second.npy')]);
    const reading = await call(page, 'read');
    assert.deepEqual(await reading.evaluate(({ files, labels, options }) => ({ files, labels, options })), {
      files: [['first.npy', undefined]],
      labels: 'second.npy',
      options: { timeout: Infinity },
    });
    await reading.evaluate(({ refuse }) => refuse('bad-dataset', 'second.npy has two dimensions, and labels have one'));
    await hasText(page, '.own .message p', /^Second\.npy has two dimensions/);
    await page.getByLabel('The labels are in').selectOption('first.npy');
    await (await call(page, 'read', 2)).evaluate(({ answer, labels }) => {
      window.read = labels;
      answer({ features: new Float32Array(6), labels: new Uint32Array(3), shape: Uint32Array.of(3, 2) });
    });
    assert.equal(await page.evaluate(() => window.read), 'first.npy');
    await hasText(page, '.preview h3', /^3 examples, read without a mistake$/);
    await page.click('#own-train');
    assert.equal(await (await call(page, 'train')).evaluate(({ labels }) => labels), 'first.npy');
  }));

test('files are dropped, and the place shows where', () =>
  withData(TABLE, async (page) => {
    const transfer = await page.evaluateHandle(() => {
      const data = new DataTransfer();
      data.items.add(new File(['age,income\n1,low\n'], 'dropped.csv', { type: 'text/csv' }));
      return data;
    });
    await page.dispatchEvent('.drop', 'dragover', { dataTransfer: transfer });
    await page.locator('.drop[data-over]').waitFor();
    await page.dispatchEvent('.drop', 'drop', { dataTransfer: transfer });
    assert.deepEqual(await (await call(page, 'read')).evaluate(({ files }) => files), [['dropped.csv', undefined]]);
    assert.equal(await page.locator('.drop[data-over]').count(), 0);
  }));

for (const colorScheme of ['light', 'dark']) {
  test(`on a narrow ${colorScheme} screen nothing but the table scrolls sideways, and the keyboard reaches everything`, () =>
    withData(
      TABLE,
      async (page) => {
        await page.setInputFiles('input.files', csv());
        await readTable(page, 9);
        await page.locator('.preview').waitFor();
        const { scrolled, wide } = await page.evaluate(() => ({ scrolled: document.documentElement.scrollWidth, wide: innerWidth }));
        assert.ok(scrolled <= wide, `${scrolled} of ${wide} pixels`);
        await page.locator('#own').focus();
        const reached = [];
        for (let step = 0; step < 8; step++) {
          await page.keyboard.press('Tab');
          reached.push(
            await page.evaluate(
              () =>
                document.activeElement.id ||
                document.activeElement.className ||
                document.activeElement.type ||
                document.activeElement.tagName,
            ),
          );
        }
        assert.deepEqual(reached.slice(0, 7), ['own-train-kept', 'own-forget', 'plain', 'select-one', 'wide', 'checkbox', 'own-train']);
      },
      { colorScheme, viewport: { width: 390, height: 844 }, kept: { files: 2, bytes: 1_234_567, since: '2026-05-03' } },
    ));
}

test('of data that a visitor has no files of, nothing is shown', () =>
  withPage(
    FIXTURE,
    async (page) => {
      await page.waitForFunction(() => window.show);
      await page.evaluate(() => window.show({ kind: 'sound' }));
      await page.evaluate(() => document.querySelector('fedra-own-data').updateComplete);
      assert.equal(await page.locator('#own').count(), 0);
    },
    { at: site },
  ));
