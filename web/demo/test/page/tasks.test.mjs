// The tasks of examples/tasks on the visitors' page, with a made-up WebAssembly module
// behind the real package and the real worker.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasText, site, withPage } from '../harness/browser.mjs';

/** A picture file of one colour. */
async function picture(page, colour, name) {
  const data = await page.evaluate((fill) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
    const pen = canvas.getContext('2d');
    pen.fillStyle = fill;
    pen.fillRect(0, 0, 40, 30);
    return canvas.toDataURL('image/png').split(',')[1];
  }, colour);
  return { name, mimeType: 'image/png', buffer: Buffer.from(data, 'base64') };
}

/** Gives a class some pictures of one colour. */
async function teach(page, index, colour, count = 3) {
  const file = await picture(page, colour, `${colour}.png`);
  await page.locator('.lessons li').nth(index).locator('input[type="file"]').setInputFiles(Array(count).fill(file));
}

const loads = (pattern) => site.requests.some((path) => pattern.test(path));

test('of a table the page tells the columns, and asks the model about a row', () =>
  withPage('?task=phase-of-flight', async (page) => {
    await hasText(page, '.data', /row of a table.*“Phase of flight”.*Wildlife Size\s*one of Small, Medium, Large/s);
    await hasText(page, 'footer', /Federal Aviation Administration.*work of the United States government/s);
    await page.getByLabel('Speed IAS in knots').waitFor();
    assert.ok(!loads(/wasm|worker-|part-/), site.requests.join(' '));
    await page.getByRole('button', { name: 'Ask the model' }).click();
    await hasText(page, '.answer .verdict .read', /^Approach$/);
    await hasText(page, '.answer .verdict small', /The report says \w/);
    await page.getByLabel('Speed IAS in knots').fill('250');
    await hasText(page, '.answer .verdict .read', /^Climb$/);
    await hasText(page, '.row-reader [aria-live]', /^The model says Climb, 89 % sure\.$/);
    assert.equal(await page.locator('.answer .verdict small').count(), 0, 'a changed row has no label');
    assert.equal(await page.locator('.shares .best .name').textContent(), 'Climb');
  }));

test('a row with a mistake is explained beside the form, and the next one is read', () =>
  withPage('?task=phase-of-flight', async (page) => {
    await page.getByLabel('Speed IAS in knots').fill('999');
    await hasText(page, '.answer .verdict [role="alert"]', /^The row: 999 is too fast\.$/);
    await page.getByLabel('Speed IAS in knots').fill('30');
    await hasText(page, '.answer .verdict .read', /^Approach$/);
    assert.equal(await page.locator('.answer .verdict [role="alert"]').count(), 0);
  }));

test('a tab trains on the part of the table that it was given', () =>
  withPage('?task=phase-of-flight&shard=3&start=1', async (page) => {
    await hasText(page, '.local small', /step \d+ of 60, 7.840 rows a second/);
    await hasText(page, '.facts', /Part 3 of the public data, SOUTHWEST AIRLINES; it stays here/);
    await hasText(page, '.facts', /653\s*rows|6\d\d\s*rows/);
    assert.ok(loads(/^\/data\/phase-of-flight\/part-3\.csv$/), site.requests.join(' '));
    assert.ok(!loads(/shard-/), site.requests.join(' '));
    await page.getByRole('button', { name: 'Another row' }).click();
    await hasText(page, '.answer .verdict .read', /Approach|Climb/);
  }));

test('a part that is not there is explained', () =>
  withPage('?task=phase-of-flight&shard=99&start=1', (page) =>
    hasText(page, '[role="alert"] [data-code="no-digits"]', /no rows to train on.*no part 99/is),
  ));

test('before the click the model writes when it is asked, and stops when it is told', () =>
  withPage('?task=moby-dick', async (page) => {
    await hasText(page, '#written', /Nothing is written yet/);
    assert.ok(!loads(/wasm|worker-|part-/), site.requests.join(' '));
    await page.getByLabel('Begin with').fill('abc');
    // The made-up model writes faster than a click comes from here.
    await page.evaluate(() => {
      const stops = new MutationObserver(() => {
        if (!/^abc.{30}/s.test(document.querySelector('#written')?.textContent ?? '')) return;
        stops.disconnect();
        const button = document.querySelector('#write');
        window.stopped = button.textContent;
        button.click();
      });
      stops.observe(document.body, { childList: true, characterData: true, subtree: true });
    });
    await page.getByRole('button', { name: 'Write' }).click();
    await page.waitForFunction(() => window.stopped);
    await page.getByRole('button', { name: 'Write' }).waitFor();
    assert.equal(await page.evaluate(() => window.stopped), 'Stop');
    const written = await page.locator('#written').textContent();
    assert.ok(written.length < 200, `stopped after ${written.length} characters`);
    await page.getByLabel('Temperature').fill('0');
    await page.getByLabel('Begin with').press('Enter');
    // At temperature 0 the made-up model only counts.
    await hasText(page, '#written', /^abcdefghijklmnopqrstuvwxyz\n !"/);
    await hasText(page, '.earlier .written', new RegExp(`^${written.slice(0, 6)}`));
  }));

test('while the tab takes part the text follows the model by itself', () =>
  withPage('?task=moby-dick&shard=0', async (page) => {
    await page.click('#start');
    await hasText(page, '.passage figcaption', /^After round 5$/);
    await hasText(page, '.local small', /stretches of text a second/);
    await hasText(page, '.facts', /Part 0 of the public data, chapters 1 to 9; it stays here/);
    await hasText(page, '.passage:not(.earlier) figcaption', /^After round 6$/);
    await hasText(page, '.passage.earlier figcaption', /^After round [56]$/);
    await hasText(page, '#headline', /^3\.\d+$/);
  }));

test('pictures of two classes come before the training, and the model tells them apart', () =>
  withPage('?task=teach', async (page) => {
    await hasText(page, '.actions', /First show it pictures of at least two classes/);
    assert.ok(await page.locator('#start').isDisabled());
    await page.locator('.lessons li').nth(2).waitFor();
    assert.equal(await page.locator('.lessons li').count(), 3);
    await hasText(page, '.learned', /no examples of its own/);
    await teach(page, 0, 'red');
    await hasText(page, '.lessons li:nth-child(1) .amount', /^3 pictures$/);
    assert.ok(await page.locator('#start').isDisabled());
    await teach(page, 1, 'lime', 2);
    await hasText(page, '.lessons li:nth-child(2) .amount', /^2 pictures$/);
    await page.locator('#start:not([disabled])').click();
    await hasText(page, '.local small', /pictures a second/);
    await hasText(page, '.facts', /5\s*pictures\s*Your own pictures; they stay here/);
    for (const [colour, name] of [
      ['lime', 'B'],
      ['red', 'A'],
    ]) {
      await page.getByLabel('Ask about a picture').setInputFiles(await picture(page, colour, 'asked.png'));
      await hasText(page, '.answer .verdict .read', new RegExp(`^${name}$`));
    }
    await hasText(page, '.teacher [aria-live]', /^The model says \w, 89 % sure\.$/);
    await page.getByRole('button', { name: 'Forget B' }).click();
    await hasText(page, '.lessons li:nth-child(2) .amount', /^no pictures yet$/);
  }));

test('a dropped file that is no picture is refused, a dropped picture is taken', () =>
  withPage('?task=teach', async (page) => {
    const drop = async ({ name, mimeType, buffer }) => {
      const data = await page.evaluateHandle(
        ([bytes, called, type]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0))], called, { type }));
          return transfer;
        },
        [buffer.toString('base64'), name, mimeType],
      );
      await page.locator('.lessons li').nth(2).dispatchEvent('drop', { dataTransfer: data });
    };
    await page.locator('.lessons li').nth(2).waitFor();
    await drop({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('no picture') });
    await hasText(page, '.teacher [role="alert"]', /^\s*Notes\.txt is not a picture that this browser can read\.\s*$/);
    await drop(await picture(page, 'blue', 'sky.png'));
    await hasText(page, '.lessons li:nth-child(3) .amount', /^1 picture$/);
    await hasText(page, '.teacher [role="alert"]', /^\s*$/);
  }));

test('the camera takes pictures, and the model says what it sees', () =>
  withPage('?task=teach', async (page) => {
    await page.getByRole('button', { name: 'Use the camera' }).click();
    await hasText(page, '.answer .verdict .read', /^[ABC]$/);
    await page.getByRole('button', { name: 'Take 8 pictures of A' }).click();
    await hasText(page, '.lessons li:nth-child(1) .amount', /^8 pictures$/);
    assert.equal(await page.locator('.lessons li:nth-child(1) canvas').count(), 6);
    await page.getByRole('button', { name: 'Switch the camera off' }).click();
    assert.ok(await page.locator('video').isHidden());
    assert.equal(await page.evaluate(() => document.querySelector('video').srcObject.active), false);
  }));

test('without a camera the page says so, and files are left', () =>
  withPage(
    '?task=teach',
    async (page) => {
      await page.getByRole('button', { name: 'Use the camera' }).click();
      await hasText(page, '.teacher [role="alert"]', /There is no camera here\. Drop pictures/);
      assert.ok(await page.getByLabel('Ask about a picture').isEnabled());
    },
    {
      setUp: (page) =>
        page.addInitScript(() => {
          navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('none', 'NotFoundError'));
        }),
    },
  ));

test('a table of the visitor’s own is shown as the model sees it, and takes the place of the part', () =>
  withPage('?task=phase-of-flight', async (page) => {
    const rows = ['Speed IAS in knots', '60', '90', '120'].join('\n');
    const file = { name: 'mine.csv', mimeType: 'text/csv', buffer: Buffer.from(`${rows}\n`) };
    await page.locator('fedra-own-data input.files').setInputFiles(file);
    await hasText(page, '.preview tbody', /0\.2/);
    assert.equal(
      await page
        .locator('#start')
        .textContent()
        .then((words) => words.trim()),
      'Start training',
      'a preview starts nothing',
    );
    await page.getByRole('button', { name: 'Train on these' }).click();
    await hasText(page, '.facts', /3\s*rows\s*Your own files; they stay here/);
    await hasText(page, '.local small', /rows a second/);
    assert.ok(!loads(/part-/), site.requests.join(' '));
    // Another task begins with nothing of it.
    await page.click('#pause');
    await page.evaluate(() => {
      history.pushState(null, '', '?task=moby-dick');
      dispatchEvent(new PopStateEvent('popstate'));
    });
    await hasText(page, '.facts', /One of 12 parts of the public data/);
  }));

test('pictures of the visitor’s own in folders are previewed, and start the training', () =>
  withPage('?task=teach', async (page) => {
    await page.locator('fedra-own-data').waitFor();
    const files = [await picture(page, 'red', 'one.png'), await picture(page, 'blue', 'two.png')];
    await page.locator('fedra-own-data input.files').setInputFiles(files);
    await page.getByLabel('2 pictures of').selectOption('C');
    await page.locator('.gallery canvas').first().waitFor();
    assert.ok(await page.locator('#start').isDisabled());
    await page.getByRole('button', { name: 'Train on these' }).click();
    await hasText(page, '.facts', /2\s*pictures\s*Your own files; they stay here/);
  }));

test('a table that only the aggregator describes has a form, and trains on the visitor’s own', () =>
  withPage('?task=prices', async (page) => {
    await hasText(
      page,
      '.data',
      /From 3 columns the model predicts one more, “price”.*everybody who takes part brings their own.*garden\s*yes or no/s,
    );
    await hasText(page, '.actions', /First give it files of your own/);
    assert.ok(await page.locator('#start').isDisabled());
    await hasText(page, '.row-reader .verdict', /^Fill in a row, and ask the model\.$/);
    assert.equal(await page.getByLabel('area').inputValue(), '90');
    await page.getByRole('button', { name: 'Ask the model' }).click();
    await hasText(page, '.answer .verdict .read', /^low$/);
    await page.getByLabel('area').fill('200');
    await hasText(page, '.row-reader [aria-live]', /^The model says high, 89 % sure\.$/);
    const file = {
      name: 'mine.csv',
      mimeType: 'text/csv',
      buffer: Buffer.from('area,garden,place,price\n60,yes,town,low\n90,no,town,high\n'),
    };
    await page.locator('fedra-own-data input.files').setInputFiles(file);
    await hasText(page, '.preview tbody', /0\.2/);
    await page.getByRole('button', { name: 'Train on these' }).click();
    await hasText(page, '.facts', /2\s*rows\s*Your own files; they stay here/);
    await hasText(page, '.local small', /rows a second/);
    await hasText(page, 'footer', /What you give to this tab stays in it\. The model is judged on other examples/);
    assert.ok(!loads(/part-|shard-/), site.requests.join(' '));
  }));

test('a text that only the aggregator describes is written, and trained on from the visitor’s own', () =>
  withPage('?task=diary', async (page) => {
    await hasText(page, '.lede', /^You give this tab text/);
    await page.locator('#written').waitFor();
    const file = { name: 'mine.txt', mimeType: 'text/plain', buffer: Buffer.from('one\ntwo\nthree\n') };
    await page.locator('fedra-own-data input.files').setInputFiles(file);
    await hasText(page, '.preview h3', /^2 stretches of text, read without a mistake$/);
    await page.getByRole('button', { name: 'Train on these' }).click();
    await hasText(page, '.local small', /stretches of text a second/);
  }));

test('of arrays the page tells the shape, and takes files of them', () =>
  withPage('?task=signals', async (page) => {
    await hasText(page, '.data', /an array of the shape 2 × 16, with a label.*32 an example, as float32/s);
    assert.equal(await page.locator('.ask').count(), 0);
    const file = (name) => ({ name, mimeType: '', buffer: Buffer.from('numbers') });
    await page.locator('fedra-own-data input.files').setInputFiles([file('x.npy'), file('y.npy')]);
    await page.getByRole('button', { name: 'Train on these' }).click();
    await hasText(page, '.facts', /Your own files; they stay here/);
    await hasText(page, '.local small', /examples a second/);
  }));

test('where nothing describes the data and the model takes no digits, the page says what it takes, and offers no training', () =>
  withPage('?task=opaque&start=1', async (page) => {
    await hasText(page, '.data', /an array of the shape 4 × 32 × 32\. Give arrays from a page of your own with the npm package fedra/);
    await hasText(page, '.connection', /^Looking on$/);
    assert.equal(await page.locator('#start, .ask, fedra-own-data').count(), 0);
    assert.ok(!loads(/shard-|wasm|worker-/), site.requests.join(' '));
  }));

test('a tab that starts by itself waits for an aggregator that is away', () => {
  let isAway = true;
  return withPage(
    '?task=moby-dick&shard=0&start=1',
    async (page) => {
      await hasText(page, '[role="alert"] [data-code="no-server"]', /keeps trying by itself/);
      isAway = false;
      await hasText(page, '.local small', /stretches of text a second/);
      assert.equal(await page.locator('[data-code="no-server"]').count(), 0);
    },
    { setUp: (page) => page.route(/v1\/tasks/, (route) => (isAway ? route.abort() : route.continue())) },
  );
});

test('a part of the page that does not load is named', () =>
  withPage('?task=moby-dick', (page) => hasText(page, '.ask [role="alert"]', /A part of this page did not load/), {
    setUp: (page) => page.route(/text-writer/, (route) => route.abort()),
  }));

for (const task of ['prices', 'signals', 'opaque']) {
  test(`${task}: nothing is wider than a phone of 390 pixels`, () =>
    withPage(
      `?task=${task}`,
      async (page) => {
        await page.locator('.data').waitFor();
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
      },
      { viewport: { width: 390, height: 844 }, hasTouch: true },
    ));
}

for (const task of ['phase-of-flight', 'moby-dick', 'teach']) {
  test(`${task}: nothing is wider than a phone of 390 pixels`, () =>
    withPage(
      `?task=${task}`,
      async (page) => {
        const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        await page.locator('.ask').waitFor();
        assert.equal(await overflow(), 0);
        if (task === 'teach') {
          await teach(page, 0, 'red', 8);
          await teach(page, 1, 'blue', 8);
        }
        await page.locator('#start:not([disabled])').click();
        await hasText(page, '#phase', /clients are training/);
        assert.equal(await overflow(), 0);
      },
      { viewport: { width: 390, height: 844 }, hasTouch: true },
    ));

  test(`${task}: every control has a name`, () =>
    withPage(`?task=${task}`, async (page) => {
      await page.locator('.ask').waitFor();
      for (const control of await page.locator('.ask :is(button, input, select)').all()) {
        const named = await control.evaluate((element) => {
          const label = element.labels?.[0]?.textContent ?? element.textContent;
          return label.trim().length > 0;
        });
        assert.ok(named, await control.evaluate((element) => element.outerHTML));
      }
    }));
}
