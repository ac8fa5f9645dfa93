// Privacy on the visitors' page in a real browser: the choice of a task, the
// question before the first round, the gauges, and the texts at the end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasText, site, withPage } from '../harness/browser.mjs';

const withChoice = { setUp: (page) => page.context().addCookies([{ name: 'choice', value: '1', url: site.url }]) };
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true };
const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.className);
const meter = (page, name) => page.getByRole('meter', { name });
const valueNow = async (gauge) => Number(await gauge.getAttribute('aria-valuenow'));
const kept = (page) =>
  page.evaluate(() =>
    Object.entries(localStorage)
      .filter(([key]) => key.startsWith('fedra:'))
      .map(([, entry]) => JSON.parse(entry)),
  );

async function askedAt(page) {
  await page.click('#start');
  await page.locator('#agree').waitFor();
}

test('with one task there is nothing to choose; without privacy the page says so plainly', () =>
  withPage('', async (page) => {
    await hasText(page, '#policy', /^Nothing$/);
    await hasText(page, '.caveat', /Be aware:.*the server can read each tab’s change/);
    await hasText(page, '#trust', /The server, and everybody/);
    assert.equal(await page.locator('.tasks').count(), 0);
    assert.equal(await page.getByRole('meter').count(), 0);
    await page.click('#start');
    // No question: there are no terms to agree to.
    await hasText(page, '#phase', /clients are training/);
    assert.deepEqual(await kept(page), []);
  }));

for (const [task, promise, trust] of [
  ['private', /^Hidden in a sum$/, /only sums of at least 20 people’s.*hands out this page’s code/],
  ['local', /^Noise from your tab$/, /^Nobody who receives your change/],
  ['central', /^Noise at the server$/, /^The server\. It sees your change/],
]) {
  test(`?task=${task} is told before the click, in words and numbers`, () =>
    withPage(`?task=${task}`, async (page) => {
      await hasText(page, '#policy', promise);
      await hasText(page, '#trust', trust);
      await hasText(page, '#delta', /1.in.100.000/);
      await hasText(page, '#round-cost', /ε 1\.24/);
      assert.equal(await meter(page, 'The task’s budget').getAttribute('aria-valuetext'), 'ε 2.78 of 8');
      assert.equal(await meter(page, 'Your total').getAttribute('aria-valuetext'), 'not known yet');
    }));
}

test('a private round: asked first, then keys, masks and unmasking, and the gauges move', () =>
  withPage('?task=private', async (page) => {
    await askedAt(page);
    assert.equal(await focused(page), 'consent', 'the question has the focus, no answer has');
    await hasText(page, '.connection', /^Waiting for your consent$/);
    await hasText(page, '.consent', /What leaves.*at least 20 people’s.*What it costs.*ε 1\.24.*20 rounds.*Who you trust/s);
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('#agree').count(), 1, 'the key that started does not agree');
    assert.equal(await valueNow(meter(page, 'Your total')), 0);
    assert.deepEqual(
      (await kept(page)).map(({ participations }) => participations),
      [0],
    );

    await page.click('#agree');
    assert.equal(await focused(page), 'pause');
    await hasText(page, '.local span', /Training/);
    await hasText(page, '#phase', /exchanging keys/);
    await hasText(page, '.steps [aria-current]', /^Keys$/);
    await hasText(page, '.connection', /Exchanging keys/);
    await hasText(page, '#phase', /masked changes come in/);
    await hasText(page, '.gathering figcaption', /You and 23 others send masked changes/);
    await hasText(page, '#your-rounds', /^1 of 20$/);
    assert.equal(await meter(page, 'Your total').getAttribute('aria-valuetext'), 'ε 1.24 of 8');
    await hasText(page, '#your-epsilon-note', /One more round brings it to 1\.76/);
    assert.ok((await valueNow(meter(page, 'The task’s budget'))) > 2.78);
    await hasText(page, '#phase', /opening only the sum/);
    await hasText(page, '#phase', /averaging/);
    await hasText(page, 'main ~ [aria-live]', /Your total is ε [01](\.24)?\./);
    await hasText(page, '#your-rounds', /^2 of 20$/);
    assert.equal(await meter(page, 'Your total').getAttribute('aria-valuetext'), 'ε 1.76 of 8');
  }));

test('the count of rounds outlives the page', () =>
  withPage('?task=private', async (page) => {
    await askedAt(page);
    await page.click('#agree');
    await hasText(page, '#your-rounds', /^1 of 20$/);
    const [before] = await kept(page);
    await page.reload();
    await askedAt(page);
    const [after] = await kept(page);
    assert.equal(after.subject, before.subject);
    assert.ok(after.participations >= 1);
    await hasText(page, '#your-rounds', /^[12] of 20$/);
    await hasText(page, '.consent', /Your rounds so far cost/);
  }));

for (const [how, say] of [
  ['by its button', (page) => page.click('#decline')],
  ['by Escape', (page) => page.keyboard.press('Escape')],
]) {
  test(`no, ${how}: nothing starts, the page says so, and one can think again`, () =>
    withPage('?task=private', async (page) => {
      await askedAt(page);
      await say(page);
      await page.locator('.notice[data-code="privacy-declined"]').waitFor();
      await hasText(page, '.connection', /Ready when you are/);
      assert.equal(await focused(page), 'start');
      assert.equal(await page.locator('[role="alert"] .message').count(), 0, 'it is no fault');
      await page.waitForFunction(() => document.querySelector('#start')?.disabled === false);
      await page.keyboard.press('Enter');
      await page.locator('#agree').waitFor();
      assert.equal(await page.locator('[data-code="privacy-declined"]').count(), 0);
      await page.click('#agree');
      await hasText(page, '.local span', /Training/);
    }));
}

test('by keyboard alone: choose the private task, start, agree', () =>
  withPage(
    '',
    async (page) => {
      await page.locator('.tasks').waitFor();
      const tabTo = async (wanted) => {
        for (let presses = 0; presses < 8; presses++) {
          if (await page.locator(wanted).evaluate((element) => element === document.activeElement)) return;
          await page.keyboard.press('Tab');
        }
        assert.fail(`Tab does not reach ${wanted}`);
      };
      await tabTo('.tasks a:nth-child(2)');
      assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none');
      await page.keyboard.press('Enter');
      await hasText(page, '#policy', /Hidden in a sum/);
      assert.equal(await page.locator('.tasks a:nth-child(2)').evaluate((link) => link === document.activeElement), true);
      await tabTo('#start');
      await page.keyboard.press('Enter');
      await page.locator('#agree').waitFor();
      await tabTo('#agree');
      await page.keyboard.press('Enter');
      await hasText(page, '.local span', /Training/);
      assert.equal(await focused(page), 'pause');
    },
    withChoice,
  ));

test('the other task: its own address, the old client ends, nothing starts by itself, Back goes back', () =>
  withPage(
    '?shard=3',
    async (page) => {
      await hasText(page, '.tasks [aria-current]', /^\s*Handwritten digits\s*No protection/);
      await page.click('#start');
      await hasText(page, '.local small', /step/);
      const [worker, ...others] = page.workers();
      assert.equal(others.length, 0);
      const ended = worker.waitForEvent('close');
      await page.click('.tasks a:nth-child(2)');
      await hasText(page, '.tasks [aria-current]', /privately.*Private: the server sees sums/);
      await hasText(page, '#policy', /Hidden in a sum/);
      assert.match(page.url(), /\?shard=3&task=private$/);
      await hasText(page, '#start', /Start training/);
      await hasText(page, '.local small, .beside', /You are asked before the first round/);
      await ended;
      assert.equal(page.workers().length, 0);

      await askedAt(page);
      assert.equal(page.workers().length, 1);
      assert.equal(site.requests.filter((path) => /shard-003/.test(path)).length, 1, 'the digits are the same');
      await page.goBack();
      await hasText(page, '#policy', /^Nothing$/);
      assert.equal(await page.locator('#agree').count(), 0, 'the question went with its task');
      await page.click('#start');
      await hasText(page, '.local span', /Training/);
      await page.goForward();
      await hasText(page, '#policy', /Hidden in a sum/);
      await page.reload();
      await hasText(page, '#policy', /Hidden in a sum/);
    },
    withChoice,
  ));

test('a task that is left while it starts does not come back', () =>
  withPage(
    '?task=private',
    async (page) => {
      await page.locator('.tasks').waitFor();
      await page.evaluate(() => {
        document.querySelector('#start').click();
        document.querySelector('.tasks a').click();
      });
      await hasText(page, '#policy', /^Nothing$/);
      await hasText(page, '#start', /Start training/);
      // By the time that another client trains, the first one would be there.
      await page.click('#start');
      await hasText(page, '.local span', /Training/);
      assert.equal(await page.locator('#agree').count(), 0);
      assert.equal(page.workers().length, 1);
    },
    withChoice,
  ));

test('a browser that has used up its part is told so, and sends no more', () =>
  withPage('?task=worn', async (page) => {
    await askedAt(page);
    await page.click('#agree');
    await page.locator('.notice[data-code="privacy-exhausted"]').waitFor({ timeout: 20_000 });
    await hasText(page, '.connection', /^Your part is done$/);
    await hasText(page, '#your-epsilon-note', /as often as the task allows/);
    await hasText(page, '#your-rounds', /^1 of 1$/);
    assert.ok(await page.locator('#pause').isDisabled());
    assert.equal(
      await page
        .locator('.bar .next')
        .first()
        .evaluate((bar) => bar.clientWidth),
      0,
    );
  }));

for (const [query, code, words] of [
  ['?task=spent', 'budget-spent', /has spent its privacy budget/],
  ['?task=weak&start=1', 'privacy-refused', /protects too little.*at least 0\.5 is asked for.*Nothing of your training was sent/],
]) {
  test(`${query} is explained`, () => withPage(query, (page) => hasText(page, `.message[data-code="${code}"]`, words)));
}

test('a private task fits a phone of 360 pixels, with the question and in a round', () =>
  withPage(
    '?task=private',
    async (page) => {
      await hasText(page, '#policy', /Hidden/);
      assert.equal(await overflow(page), 0);
      await askedAt(page);
      assert.equal(await overflow(page), 0);
      const small = await page
        .locator('.consent button, .tasks a')
        .evaluateAll((targets) =>
          targets.filter((target) => target.getBoundingClientRect().height < 44).map((target) => target.textContent),
        );
      assert.deepEqual(small, [], 'a finger can hit everything');
      await page.click('#agree');
      await hasText(page, '#phase', /masked changes/);
      assert.equal(await overflow(page), 0);
    },
    { ...withChoice, ...PHONE },
  ));

test('with reduced motion the gauges jump', () =>
  withPage(
    '?task=private',
    async (page) => {
      await askedAt(page);
      await page.click('#agree');
      await hasText(page, '#your-rounds', /^1 of/);
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
    },
    { reducedMotion: 'reduce' },
  ));
