// The page in a real browser, with a fake WebAssembly module behind the real
// package and the real worker.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { desk, hasText, mainThreadTasks, site, withPage } from '../harness/browser.mjs';

/** Draws a polyline on the pad, in shares of it. */
async function draw(page, [first, ...rest]) {
  const pad = page.locator('.paper canvas');
  await pad.scrollIntoViewIfNeeded();
  const box = await pad.boundingBox();
  const at = ([x, y]) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(first));
  await page.mouse.down();
  for (const point of rest) await page.mouse.move(...at(point), { steps: 8 });
  await page.mouse.up();
}

test('before the click the page shows the task’s history and downloads no module and no digits', () =>
  withPage('', async (page) => {
    await hasText(page, '#headline', /^84\.8 %$/);
    await hasText(page, '.gathering figcaption', /^30 clients connected right now/);
    await page.locator('.tall .plot canvas').waitFor();
    assert.ok(!site.requests.some((path) => /wasm|worker|shard/.test(path)), site.requests.join(' '));
  }));

test('one click starts; rounds, progress, charts and traffic follow; nothing holds up the page', () =>
  withPage('?shard=3', async (page) => {
    await hasText(page, '#headline', /84\.8 %/);
    const tasks = await mainThreadTasks(page, async () => {
      await page.click('#start');
      await hasText(page, '#backend', /CPU/);
      await hasText(page, '#backend + .why', /Measuring WebGPU beside it/);
      await hasText(page, '.local small', /step \d+ of 60, 7.840 digits a second/);
      await hasText(page, '#phase', /clients are training/);
      await hasText(page, '.gathering figcaption', /You and 23 others train/);
      await hasText(page, '#phase', /averaging/);
      await hasText(page, '#headline', /87\.0 %/);
      await hasText(page, '#sent', /797 kB/);
      await draw(page, [
        [0.3, 0.25],
        [0.7, 0.25],
        [0.45, 0.8],
      ]);
      await hasText(page, '.answer .read', /^7$/);
      await hasText(page, '#backend + .why', /WebGPU cannot be used: no graphics adapter/);
    });
    assert.deepEqual(
      tasks.filter((milliseconds) => milliseconds > 50),
      [],
    );
    assert.ok(site.requests.includes('/data/shard-003.bin'));
  }));

for (const [query, where] of [
  ['', 'before the click'],
  ['?task=done', 'in a finished task'],
  ['?task=late&start=1', 'in a task that has finished meanwhile'],
]) {
  test(`a digit is read ${where}, and only then is the module fetched`, () =>
    withPage(query, async (page) => {
      await hasText(page, '#headline', /84\.8 %/);
      if (!query.includes('start')) assert.ok(!site.requests.some((path) => /wasm|worker|models/.test(path)), site.requests.join(' '));
      else await page.locator('[data-code="task-finished"]').waitFor();
      await draw(page, [
        [0.3, 0.25],
        [0.7, 0.25],
        [0.45, 0.8],
      ]);
      await hasText(page, '.answer .read', /^7$/);
      await hasText(page, '.ask [aria-live]', /The model reads 7, 89 % sure/);
      // A client that has started has the model by itself.
      const fetches = site.requests.filter((path) => path.startsWith('/v1/models/')).length;
      assert.equal(fetches, query.includes('start') ? 0 : 1);
    }));
}

test('a model that is gone is explained, and the next digit tries again', () =>
  withPage('?task=pruned', async (page) => {
    await hasText(page, '#headline', /84\.8 %/);
    await draw(page, [
      [0.3, 0.25],
      [0.7, 0.25],
    ]);
    await hasText(page, '[data-code="model-unavailable"]', /The shared model did not arrive/);
    assert.equal(await page.locator('.answer .read').count(), 0);
    const before = site.requests.length;
    await draw(page, [
      [0.3, 0.5],
      [0.7, 0.5],
    ]);
    await page.waitForResponse(/\/v1\/models\//);
    assert.ok(site.requests.length > before);
  }));

test('the bundle may come from another origin: its worker is found there', () =>
  withPage(
    '',
    async (page) => {
      desk.requests.length = 0;
      await page.click('#start');
      await hasText(page, '#phase', /clients are training/);
      assert.ok(
        desk.requests.some((path) => /worker/.test(path)),
        desk.requests.join(' '),
      );
      assert.ok(!site.requests.some((path) => /assets/.test(path)), site.requests.join(' '));
    },
    {
      // A test's answer in place of a server counts as the public internet's.
      permissions: ['local-network-access'],
      setUp: (page) =>
        page.route(site.url, async (route) => {
          const html = await route.fetch().then((answer) => answer.text());
          await route.fulfill({ contentType: 'text/html', body: html.replaceAll('./assets/', `${desk.url}assets/`) });
        }),
    },
  ));

test('whoever asks for WebGPU where there is none is told so, and trains on the CPU', () =>
  withPage('?backend=webgpu', async (page) => {
    await page.click('#start');
    await hasText(page, '[data-code="no-webgpu"]', /No graphics adapter.*training on the CPU/);
    await hasText(page, '#backend', /CPU/);
    await hasText(page, '#backend + .why', /WebGPU cannot be used: no graphics adapter/);
    await hasText(page, '.local small', /step \d+ of 60/);
    assert.equal(site.requests.filter((path) => /fake-wasm/.test(path)).length, 1);
  }));

test('pause and resume', () =>
  withPage('?start=1', async (page) => {
    await page.click('#pause');
    await hasText(page, '.connection', /^Paused$/);
    await hasText(page, '#pause', /Resume/);
    await page.click('#pause');
    await hasText(page, '.local span', /Training/);
  }));

test('by keyboard alone: start, pick a digit, hear what the model reads, pause', () =>
  withPage('', async (page) => {
    await page.locator('.caveat a').waitFor();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'More below');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'start');
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none');
    await page.keyboard.press('Enter');
    await hasText(page, '.local small', /step/);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'pause');
    const sample = page.locator('.samples button').first();
    for (let presses = 0; presses < 10 && !(await sample.evaluate((button) => button === document.activeElement)); presses++) {
      await page.keyboard.press('Tab');
    }
    await page.keyboard.press('Space');
    await hasText(page, '.answer .verdict', /Its label says \d/);
    await hasText(page, '.ask [aria-live]', /The model reads \d, 89 % sure/);
    await page.focus('#pause');
    await page.keyboard.press('Enter');
    await hasText(page, '.connection', /^Paused$/);
  }));

test('nothing is wider than a phone of 360 pixels, before and after the start', () =>
  withPage(
    '',
    async (page) => {
      const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      await hasText(page, '#headline', /%/);
      assert.equal(await overflow(), 0);
      await page.click('#start');
      await hasText(page, '#phase', /clients are training/);
      assert.equal(await overflow(), 0);
    },
    { viewport: { width: 360, height: 740 }, hasTouch: true },
  ));

test('with reduced motion nothing moves by itself', () =>
  withPage(
    '',
    async (page) => {
      await page.click('#start');
      await hasText(page, '#phase', /averaging/);
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
    },
    { reducedMotion: 'reduce' },
  ));

for (const [query, code, words] of [
  ['?task=lonely&start=1', 'no-server', /No answer from the aggregator.*keeps trying/],
  ['?task=nope', 'unknown-task', /There is no such task/],
  ['?task=picky&start=1', 'bad-dataset', /do not fit.*Class 11 of 10/],
  ['?shard=1000&start=1', 'no-digits', /There is no shard 1000/],
  ['?backend=gpu', 'bad-options', /it must be auto, webgpu or cpu/],
]) {
  test(`${query} is explained`, () =>
    withPage(query, async (page) => {
      await hasText(page, `[role="alert"] [data-code="${code}"]`, words);
    }));
}

for (const [query, code, words] of [
  ['?task=done', 'task-finished', /This task has finished.*draw a digit/],
  ['?task=late&start=1', 'task-finished', /This task has finished.*draw a digit/],
  ['?task=diverging&start=1', 'training-diverged', /Training went astray.*smaller learning rate/],
]) {
  test(`${query} is told, and is no fault of the tab`, () =>
    withPage(query, async (page) => {
      await hasText(page, `[role="status"] [data-code="${code}"]`, words);
      assert.equal(await page.locator('[role="alert"] .message').count(), 0);
    }));
}

test('a tab that is left out for a while says for how long and why', () =>
  withPage('?task=outpaced&start=1', (page) =>
    hasText(page, '.connection', /^Sitting out for 31 s: this tab was too slow for the last rounds$/),
  ));

test('without a server the page says so, and goes on when it is back', () =>
  withPage(
    '',
    async (page) => {
      await page.locator('[data-code="no-server"]').waitFor();
      await page.unroute('**/v1/**');
      await hasText(page, '#headline', /84\.8 %/);
      assert.equal(await page.locator('[data-code="no-server"]').count(), 0);
    },
    { setUp: (page) => page.route('**/v1/**', (route) => route.abort()) },
  ));
