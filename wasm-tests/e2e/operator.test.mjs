// The operator's page against the real aggregator, with native clients at work.
// The tests go in order and share the programs: each one starts from where the
// last one ended.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Scene } from './harness/scene.mjs';
import { until } from './harness/until.mjs';

const TOKEN = randomBytes(24).toString('hex');
const sha256 = (file) => createHash('sha256').update(file).digest('hex');

describe('an operator', { concurrency: false }, () => {
  const scene = new Scene();
  let aggregator;
  let page;
  const complaints = [];

  const text = (selector) => page.evaluate((where) => document.querySelector(where)?.textContent?.trim() ?? '', selector);
  const shows = (selector, pattern) =>
    until(`${selector} shows ${pattern}`, async () => pattern.test(await text(selector)), { state: () => text('main') });
  /** Rounds done, as the page shows them. */
  const shown = async () => Number(await text('#round')) - 1;

  before(async () => {
    const token = join(scene.folder, 'operator-token');
    writeFileSync(token, TOKEN);
    const server = `[server.admin]\ntoken_file = ${JSON.stringify(token)}`;
    await scene.start({ id: 'digits', model: 'softmax-regression', learningRate: 0.1, minimumCohort: 2, server });
    aggregator = scene.aggregator;
    scene.startNativeClients({ clients: 3, examples: 200 });
    page = await scene.browser.newPage();
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => {
      if (/Content Security Policy/i.test(message.text())) complaints.push(message.text());
    });
  });

  after(() => scene.end());

  test('sees rounds go by without a token', async () => {
    await page.goto(`${aggregator.http}/admin/`);
    await shows('#title', /^End to end$/);
    await until('three rounds are done', async () => (await shown()) >= 3);
    await shows('.funnel .count', /^3$/);
    await shows('#stand', /^Running$/);
    assert.equal(await page.locator('#toggle').count(), 0);
  });

  test('is let in with the token, and not with another', async () => {
    await page.click('#access');
    await page.fill('#token', 'x'.repeat(48));
    await page.click('#enter');
    await shows('#token-problem', /does not take this token/);
    await page.fill('#token', TOKEN);
    await page.check('#keep');
    await page.click('#enter');
    await shows('#access', /Sign out/);
    await page.locator('#toggle:not([aria-disabled])').waitFor();
  });

  test('pauses, and no round is made', async () => {
    await page.click('#toggle');
    await shows('#stand', /^Paused$/);
    const { round, phase } = await aggregator.state();
    assert.equal(phase, 'paused');
    await shows('#round', new RegExp(`^${round + 1}$`));
    await shows('[aria-labelledby="decisions"] tbody tr', /Paused/);
  });

  test('goes back to the first round: its model is the newest again', async () => {
    const before = await aggregator.state();
    await page.click('#roll-back');
    await page.click('dialog[open] .choice:has-text("Round 1:"), dialog[open] .choice:text-is("Round 1")');
    await page.click('#fedra-roll-back-question-yes');
    await shows('.notice', new RegExp(`Round ${before.round + 1} has the model of round 1 now`));
    const { round, model } = await aggregator.state();
    assert.equal(round, before.round + 1);
    await shows('[aria-labelledby="rounds"] tbody tr', new RegExp(`^${round} back to 1`));

    await page.click('#export');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#fedra-export-question-yes')]);
    assert.equal(download.suggestedFilename(), `digits-${round}.safetensors`);
    assert.equal(sha256(readFileSync(await download.path())), model.sha256);
  });

  test('lets it go on, through a kill of the aggregator', async () => {
    const { round } = await aggregator.state();
    await page.click('#toggle');
    await shows('#stand', /^Running$/);
    await until('rounds are made again', async () => (await shown()) > round);
    await aggregator.end('SIGKILL');
    await shows('[data-code="no-server"]', /No answer from the aggregator/);
    await aggregator.start();
    await shows('.connection', /Up to date/);
    const decisions = await page.locator('[aria-labelledby="decisions"] tbody td').allTextContents();
    assert.deepEqual(decisions, ['Resumed', `Rolled back to round 1, as round ${round}`, 'Paused']);
    const { round: now } = await aggregator.state();
    await until('rounds are made again', async () => (await shown()) > now);
  });

  test('adds a task, once its mistakes are mended', async () => {
    await page.click('.side a:has-text("New task")');
    await page.fill('#toml', '[[task]]\nid = "second"\nmodel = "no-such-model"\nround = { cohort_size = 0 }\n');
    await page.click('#create');
    await shows('.mistakes', /task\[second\]\.model: no built-in model "no-such-model"/);
    await shows('.mistakes', /task\[second\]\.round\.cohort_size: must be/);
    await page.fill('#toml', '[[task]]\nid = "second"\ntitle = "A second task"\nmodel = "softmax-regression"\n');
    await page.click('#create');
    await shows('#title', /^A second task$/);
    await page.click('.side a:has-text("Server")');
    await shows('#memory', /MB$/);
    assert.equal(await page.locator('tbody tr').count(), 2);
  });

  test('stops a task for good', async () => {
    await page.click('.side a:has-text("End to end")');
    await page.locator('#stop:not([aria-disabled])').click();
    await page.click('#stop-yes');
    await shows('#stand', /^Stopped$/);
    assert.equal((await aggregator.state()).state, 'stopped');
  });

  test('had a page without errors or breaches of its policy', () => assert.deepEqual(complaints, []));
});
