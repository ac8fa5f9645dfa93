// The element in a real browser with a fake WebAssembly module, under a policy without inline
// styles: consent, state, log, tabs, keyboard, languages, and axe's rules in every state.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch } from '../harness/chromium.mjs';
import { buildPages, servePages, visitors } from '../harness/serve.mjs';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
let browser;
let built;
let site;
before(async () => {
  built = await buildPages([fileURLToPath(new URL('../fixtures/trainer.html', import.meta.url))]);
  site = await servePages(built.folder, visitors);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
  built?.remove();
});

/** Runs `body` with a page of a new profile; fails on any error that a page of it had. */
async function withPage(query, body, context = {}) {
  const opened = await browser.newContext({ locale: 'en-GB', ...context });
  opened.setDefaultTimeout(15_000);
  const errors = [];
  opened.on('weberror', (error) => errors.push(error.error().message));
  opened.on('console', (message) => /Content Security Policy/i.test(message.text()) && errors.push(message.text()));
  const open = async (of = query) => {
    const page = await opened.newPage();
    await page.goto(`${site.url}test/fixtures/trainer.html${of}`);
    return page;
  };
  await body(await open(), open);
  await opened.close();
  assert.deepEqual(errors, []);
}

const button = (page, name) => page.getByRole('button', { name, exact: true });
const shows = (page, text) => page.locator('fedra-trainer').getByText(text).filter({ visible: true }).first().waitFor();
/** Waits until every worker of a page has ended. */
const hasNoWorker = (page) => Promise.all(page.workers().map((worker) => worker.waitForEvent('close')));
/** From the invitation to the first round. */
async function takesPart(page) {
  await button(page, 'Take part').click();
  await button(page, 'Agree and take part').click();
  await shows(page, /Trains on your data/);
}

test('a person is invited, asked, and takes part; the log has their rounds and can be saved', async () => {
  await withPage('?task=private', async (page) => {
    await button(page, 'Take part').click();
    await shows(page, 'Before your first round');
    await shows(page, /Noise and masks hide your change/);
    await shows(page, 'Spent so far: ε 0 of 8');
    assert.equal(page.workers().length, 1);
    await button(page, 'Agree and take part').click();
    await shows(page, /Trains on your data · Round 6/);
    assert.equal(await page.getByRole('progressbar').count(), 1);
    await shows(page, /Done; the others are finishing/);
    await page.getByText('What left this device').click();
    // The oldest one, however many rounds have been since.
    const row = page.getByRole('row').last();
    await row.getByText('counted').waitFor();
    assert.deepEqual((await row.getByRole('cell').allTextContents()).toSpliced(1, 2), ['6', '1.24', 'counted']);
    const saving = page.waitForEvent('download');
    await button(page, 'Save as JSON').click();
    const saved = JSON.parse(await readFile(await (await saving).path(), 'utf8'));
    assert.deepEqual([saved.task, saved.rounds[0].round, saved.rounds[0].policy], ['private', 6, 'distributed']);
    await page.getByText('Privacy', { exact: true }).click();
    await shows(page, /^Spent so far: ε [1-7]\.\d+ of 8$/);
    await shows(page, /^Rounds taken part in: [1-9]\d* of 20$/);
  });
});

test('a task without a policy asks, too, and says that the server can read the change', async () => {
  await withPage('', async (page) => {
    await button(page, 'Take part').click();
    await shows(page, /The server can read your change/);
    await page
      .evaluate(() => document.querySelector('fedra-trainer').client.latest('status').state)
      .then((state) => assert.equal(state, 'consent'));
  });
});

test('a no ends it, Escape is a no, and a person may start again', async () => {
  await withPage('?task=private', async (page) => {
    await button(page, 'Take part').click();
    await button(page, 'Not now').click();
    await shows(page, 'You did not take part. Nothing of your training was sent.');
    await button(page, 'Start again').click();
    await shows(page, 'Before your first round');
    await page.keyboard.press('Escape');
    await shows(page, 'You did not take part. Nothing of your training was sent.');
    assert.equal(await page.evaluate(() => document.querySelector('fedra-trainer').client), undefined);
  });
});

test('by keyboard alone: start, agree, pause, go on, withdraw; the focus is never lost', async () => {
  await withPage('?task=private', async (page) => {
    const focused = () => page.evaluate(() => document.querySelector('fedra-trainer').shadowRoot.activeElement?.textContent ?? '');
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Take part');
    await page.keyboard.press('Enter');
    await shows(page, 'Before your first round');
    assert.match(await focused(), /^Before your first round/, 'not an answer');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Agree and take part');
    await page.keyboard.press('Enter');
    await shows(page, /Trains on your data/);
    assert.equal(await focused(), 'Pause');
    await page.keyboard.press('Space');
    await shows(page, 'Paused');
    assert.equal(await focused(), 'Go on');
    await page.keyboard.press('Space');
    await shows(page, /Trains on your data/);
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Withdraw consent');
    await page.keyboard.press('Enter');
    await shows(page, /You have withdrawn your consent/);
    await page.waitForFunction(() => document.querySelector('fedra-trainer').shadowRoot.activeElement?.textContent === 'Start again');
  });
});

test('at the next visit it goes on without a question; after a withdrawal, or with another text, it asks', async () => {
  await withPage('?task=private', async (page) => {
    await takesPart(page);
    await page.reload();
    await shows(page, /Trains on your data/);
    await page.goto(page.url().replace('?task=private', '?task=private&text=Another'));
    await button(page, 'Take part').click();
    await shows(page, 'Another');
    await button(page, 'Agree and take part').click();
    await button(page, 'Withdraw consent').click();
    await page.reload();
    await button(page, 'Take part').click();
    await shows(page, 'Before your first round');
  });
});

test('of two tabs the second shows the first one’s rounds, and takes over', async () => {
  await withPage('', async (first, open) => {
    await takesPart(first);
    const second = await open();
    await shows(second, 'Another tab takes part. This one takes over when it closes.');
    await shows(second, /Trains on your data · Round/);
    assert.equal(second.workers().length, 0);
    const turn = second.locator('fedra-trainer').getByText('Another tab takes part').waitFor({ state: 'hidden', timeout: 2000 });
    await first.close();
    await turn;
    await shows(second, /Trains on your data · Round/);
  });
});

test('a withdrawal in one tab ends the other', async () => {
  await withPage('', async (first, open) => {
    await takesPart(first);
    const second = await open();
    await shows(second, /Another tab takes part/);
    await button(second, 'Withdraw consent').click();
    for (const page of [first, second]) await shows(page, /You have withdrawn your consent/);
    for (const page of [first, second]) await hasNoWorker(page);
  });
});

// cspell:disable
test('texts are in German where the page is, and each can be replaced', async () => {
  await withPage('?task=private&lang=de', async (page) => {
    await button(page, 'Teilnehmen').click();
    await shows(page, 'Bisher verbraucht: ε 0 von 8');
    await button(page, 'Zustimmen und teilnehmen').click();
    await shows(page, /Trainiert mit Ihren Daten · Runde 6/);
    await page.evaluate(() => {
      document.querySelector('fedra-trainer').strings = { pause: 'Anhalten', states: { training: 'Rechnet' } };
    });
    await button(page, 'Anhalten').waitFor();
    await shows(page, /Rechnet · Runde/);
  });
});

// cspell:enable

test('a fatal error is told with its cause', async () => {
  await withPage('?task=weak', async (page) => {
    await button(page, 'Take part').click();
    const alert = page.getByRole('alert');
    await alert.getByText(/Something went wrong: the task promises noise of 0.2/).waitFor();
    await button(page, 'Start again').waitFor();
  });
});

test('an element that is moved goes on, and one that is removed ends its client', async () => {
  await withPage('', async (page) => {
    await takesPart(page);
    await page.evaluate(() => document.body.append(document.querySelector('fedra-trainer')));
    assert.equal(page.workers().length, 1);
    await shows(page, /Done; the others are finishing/);
    await page.evaluate(async () => {
      const trainer = document.querySelector('fedra-trainer');
      const { client } = trainer;
      trainer.remove();
      await new Promise((resolve) => client.addEventListener('status', ({ detail }) => detail.state === 'closed' && resolve()));
    });
    await hasNoWorker(page);
  });
});

test('the hook has a component take part, and ends with it', async () => {
  await withPage('?react', async (page) => {
    await page.getByText(/accepted/).waitFor();
    await page.locator('#react p').click();
    await page.getByText(/^none/).waitFor();
    await page.waitForFunction(() => navigator.locks.query().then(({ held }) => held.length === 0));
    await hasNoWorker(page);
  });
});

const axe = await readFile(AXE, 'utf8');
for (const colorScheme of ['light', 'dark']) {
  test(`axe finds nothing in any state: ${colorScheme}`, async () => {
    await withPage(
      '?task=private',
      async (page) => {
        const check = async (state) => {
          await page.evaluate(axe);
          const { violations } = await page.evaluate(() => window.axe.run('fedra-trainer'));
          const words = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
          assert.deepEqual(words, [], state);
        };
        await button(page, 'Take part').waitFor();
        await check('invited');
        await button(page, 'Take part').click();
        await shows(page, 'Before your first round');
        await check('asked');
        await button(page, 'Agree and take part').click();
        await shows(page, /Trains on your data/);
        await page.getByText('What left this device').click();
        await page.getByText('Privacy', { exact: true }).click();
        await check('trains');
        await page.getByText('counted').waitFor();
        await button(page, 'Pause').click();
        await shows(page, 'Paused');
        await check('paused, with a log');
        await button(page, 'Withdraw consent').click();
        await shows(page, /You have withdrawn/);
        await check('ended');
        await page.goto(page.url().replace('private', 'weak'));
        await button(page, 'Take part').click();
        await page.getByText(/Something went wrong/).waitFor();
        await check('failed');
      },
      { colorScheme },
    );
  });
}
