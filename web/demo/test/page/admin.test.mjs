// The operator's page in a real browser, beside a made-up aggregator: its public
// part, and the part that takes the token.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { beforeEach, test } from 'node:test';
import { desk, hasText, operators, withPage } from '../harness/browser.mjs';
import { TOKEN } from '../harness/operators.mjs';

const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true };
const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
const focused = (page) => page.evaluate(() => document.activeElement.id);
const stored = (page) => page.evaluate(() => JSON.stringify([Object.entries(sessionStorage), Object.entries(localStorage)]));

beforeEach(() => operators.reset());

const withAdmin = (body, { address = 'admin/', ...rest } = {}) => withPage(address, body, { at: desk, ...rest });

/** Signs in at the top of the page. */
async function signIn(page, { token = TOKEN, keep = false } = {}) {
  await page.click('#access');
  await page.fill('#token', token);
  if (keep) await page.check('#keep');
  await page.click('#enter');
}

async function signedIn(page, options) {
  await signIn(page, options);
  await hasText(page, '#access', /Sign out/);
  await page.locator('#toggle:not([aria-disabled])').waitFor();
}

test('without a token everybody sees the tasks, the round, its funnel, and what it costs', () =>
  withAdmin(async (page) => {
    await hasText(page, '#title', /^Handwritten digits$/);
    await hasText(page, '#stand', /^Running$/);
    await hasText(page, '#round', /^25$/);
    await hasText(page, '.now .of', /of 60/);
    await hasText(page, '.steps [aria-current]', /^Train$/);
    await hasText(page, '#phase', /21 of 32 updates are in. At most 38 s more/);
    const funnel = await page.locator('.funnel .count').allTextContents();
    assert.deepEqual(funnel, ['212', '40', '21', '2']);
    const widths = await page
      .locator('.funnel .bar span')
      .evaluateAll((bars) => bars.map((bar) => bar.clientWidth / bar.parentElement.clientWidth));
    assert.ok(Math.abs(widths[0] - 1) < 0.01 && Math.abs(widths[1] - 40 / 212) < 0.01, widths.join(' '));
    await page.waitForFunction(() => document.querySelectorAll('.plot canvas').length === 4);
    assert.match(await page.locator('.plot').nth(3).getAttribute('aria-label'), /^Bytes a round from 24\.7 MB from clients/);
    await hasText(page, '[aria-labelledby="rounds"] tbody tr', /^\s*24\s*95\.\d %/);
    assert.equal(await page.locator('.side a').count(), 2);
    assert.equal(await page.locator('#decisions, #config').count(), 0, 'for operators only');
    assert.deepEqual(
      desk.requests.filter((path) => path.startsWith('/v1/admin')),
      [],
    );
  }));

test('/admin without a slash is the same page', () => withAdmin((page) => hasText(page, '#round', /^25$/), { address: 'admin' }));

test('a private task shows its budget, each task has an address, and Back goes back', () =>
  withAdmin(async (page) => {
    await hasText(page, '#title', /digits/);
    assert.equal(await page.getByRole('meter').count(), 0);
    await page.click('.side a:has-text("privately")');
    await hasText(page, '#title', /privately/);
    assert.match(page.url(), /#\/tasks\/clinic$/);
    assert.equal(await page.getByRole('meter', { name: 'Spent' }).getAttribute('aria-valuetext'), 'ε 3.42 of 8');
    await hasText(page, '.steps [aria-current]', /^Masks$/);
    await hasText(page, '.now .of', /of 20, attempt 2/);
    assert.equal(await page.title(), 'Fedra: Handwritten digits, privately');
    await page.goBack();
    await hasText(page, '#title', /^Handwritten digits$/);
  }));

const FAILING = {
  state: 'failing',
  reason: '3 of 4: training diverged; a smaller learning rate may help',
  since: '2026-01-01T09:30:00Z',
  attempts: 12,
  failures: [
    { kind: 'declined', cause: 'training-diverged', count: 36, text: 'training diverged' },
    { kind: 'lost', cause: null, count: 2, text: 'disconnected' },
  ],
};

test('a task that makes no rounds says so, why, and since when, and is well again by itself', () =>
  withAdmin(
    async (page) => {
      await hasText(page, '#stand', /^Failing$/);
      await hasText(
        page,
        '#failing',
        /The last 12 attempts came to nothing.*3 of 4: training diverged; a smaller learning rate may help\. Failing since 2026-01-01/,
      );
      await hasText(page, '.side a', /Failing, 24 rounds done/);
      await hasText(page, '[aria-labelledby="failures"] tbody tr', /Training diverged\.\s*36/);
      await signedIn(page);
      await page.click('.side a:has-text("Server")');
      await hasText(page, '[aria-labelledby="all"] tbody tr', /digits\s*Failing/);
      await page.click('.side a');
      operators.task('digits').health = { ...FAILING, state: 'ok', reason: null, attempts: 0 };
      await hasText(page, '#stand', /^Running$/);
      assert.equal(await page.locator('#failing').count(), 0);
      assert.equal(await page.locator('#failures').count(), 1, 'what has happened stays');
    },
    { setUp: () => (operators.task('digits').health = FAILING) },
  ));

test('a task without clients says how many it needs', () =>
  withAdmin(
    async (page) => {
      await hasText(page, '#stand', /^Waiting for clients$/);
      await hasText(page, '#phase', /^1 client is available, 4 are needed\./);
      assert.equal(await page.locator('#failing').count(), 0);
    },
    {
      setUp: () =>
        Object.assign(operators.task('digits'), {
          phase: 'selecting',
          health: {
            state: 'waiting',
            reason: '1 client is available, 4 are needed',
            since: '2026-01-01T09:30:00Z',
            attempts: 0,
            failures: [],
          },
        }),
    },
  ));

test('a task that is not there is told, and the way back is open', () =>
  withAdmin(
    async (page) => {
      await hasText(page, '[data-code="unknown-task"]', /There is no such task/);
      await page.click('.side a');
      await hasText(page, '#title', /digits/);
      assert.equal(await page.locator('[data-code]').count(), 0);
    },
    { address: 'admin/#/tasks/nope' },
  ));

test('a wrong token is refused in words, the right one opens, and neither is in an address or kept', () =>
  withAdmin(async (page) => {
    const addresses = [];
    page.on('request', (request) => addresses.push(request.url()));
    await signIn(page, { token: 'two words' });
    await hasText(page, '#token-problem', /This is not a token/);
    await page.fill('#token', 'x'.repeat(32));
    await page.click('#enter');
    await hasText(page, '#token-problem', /does not take this token/);
    assert.equal(await focused(page), 'token');
    await page.fill('#token', ` ${TOKEN}\t`);
    await page.click('#enter');
    await hasText(page, '#access', /Sign out/);
    await page.locator('#toggle:not([aria-disabled])').waitFor();
    assert.equal(await page.locator('dialog[open]').count(), 0);
    assert.equal(await page.inputValue('#token'), '');
    assert.ok(addresses.length > 3 && addresses.every((address) => !address.includes(TOKEN)));
    assert.ok(!(await stored(page)).includes(TOKEN));
    assert.deepEqual([...new Set(operators.presented)], [`Bearer ${'x'.repeat(32)}`, `Bearer ${TOKEN}`]);
    await page.reload();
    await hasText(page, '#access', /Sign in/);
    await hasText(page, '.orders .beside', /take the operator’s token/);
  }));

test('on request the token is kept for the tab, until the operator signs out', () =>
  withAdmin(async (page) => {
    await signedIn(page, { keep: true });
    await page.reload();
    await hasText(page, '#access', /Sign out/);
    await page.locator('#decisions').waitFor();
    await page.click('#access');
    await hasText(page, '#access', /Sign in/);
    assert.equal(await page.locator('#decisions').count(), 0);
    assert.ok(!(await stored(page)).includes(TOKEN));
  }));

test('an aggregator without the admin API says what to set', () =>
  withAdmin(
    async (page) => {
      await signIn(page);
      await hasText(page, '#token-problem', /set server\.admin\.token_file/);
    },
    { setUp: () => operators.reset(false) },
  ));

test('a token that is taken back signs out, and says why', () =>
  withAdmin(async (page) => {
    await signedIn(page, { keep: true });
    await page.route('**/v1/admin/**', (route) => route.fulfill({ status: 401, json: { detail: 'no' } }));
    await page.click('#toggle');
    await hasText(page, '#access', /Sign in/);
    await hasText(page, '.orders .beside', /does not take this token/);
    assert.ok(!(await stored(page)).includes(TOKEN));
    assert.deepEqual(operators.orders, []);
  }));

test('pause and resume: the server is told, the focus stays, the decision is in the log', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('#toggle');
    await hasText(page, '.notice', /pauses once the round under way is completed/);
    assert.deepEqual(operators.orders, [{ path: 'tasks/digits/pause', body: '' }]);
    await hasText(page, '#stand', /^Pausing$/);
    await hasText(page, '#toggle', /Resume/);
    await hasText(page, '.side small', /Pausing/);
    assert.equal(await focused(page), 'toggle');
    await hasText(page, '[aria-labelledby="decisions"] tbody tr', /Paused/);
    operators.task('digits').phase = 'paused';
    await hasText(page, '#stand', /^Paused$/);
    await hasText(page, '#phase', /No round is made until the task is resumed/);
    await page.keyboard.press('Enter');
    await hasText(page, '#stand', /^Running$/);
    assert.equal(operators.orders.at(-1).path, 'tasks/digits/resume');
  }));

test('the second of a double click is no order', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('#toggle');
    await hasText(page, '#toggle', /Resume/);
    await page.locator('#toggle:not([aria-disabled])').waitFor();
    await page.evaluate(() => document.querySelector('#toggle').dispatchEvent(new MouseEvent('click', { bubbles: true, detail: 2 })));
    assert.equal(await page.getAttribute('#toggle', 'aria-disabled'), null);
    await page.keyboard.press('Enter');
    await hasText(page, '#toggle', /Pause/);
    assert.deepEqual(
      operators.orders.map(({ path }) => path),
      ['tasks/digits/pause', 'tasks/digits/resume'],
    );
  }));

test('a question goes with the task that it was about', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('.side a:has-text("privately")');
    await hasText(page, '#title', /privately/);
    for (const question of ['roll-back', 'stop']) {
      await page.locator(`#${question}:not([aria-disabled])`).click();
      await hasText(page, 'dialog[open] h2', /“Handwritten digits, privately”/);
      await page.goBack();
      await hasText(page, '#title', /^Handwritten digits$/);
      assert.equal(await page.locator('dialog[open]').count(), 0);
      await page.goForward();
      await hasText(page, '#title', /privately/);
    }
    assert.deepEqual(operators.orders, []);
  }));

test('stop asks once more, and leaves only what can still be done', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('#stop');
    await hasText(page, 'dialog[open] h2', /Stop “Handwritten digits” for good\?/);
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('dialog[open]').count(), 0, 'the first answer is no');
    await page.click('#stop');
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('dialog[open]').count(), 0);
    assert.equal(await focused(page), 'stop');
    assert.deepEqual(operators.orders, []);
    await page.click('#stop');
    await page.click('#stop-yes');
    await hasText(page, '#stand', /^Stopped$/);
    assert.equal(operators.orders[0].path, 'tasks/digits/stop');
    await hasText(page, '.notice', /stopped for good/);
    const off = await page.locator('.order[aria-disabled]').evaluateAll((buttons) => buttons.map(({ id }) => id));
    assert.deepEqual(off, ['toggle', 'roll-back', 'stop']);
  }));

test('roll back: a kept round is chosen, the new round has its model, the history stays', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('#roll-back');
    const choices = page.locator('dialog[open] .choice');
    assert.match(await choices.first().textContent(), /Round 23: \d\d\.\d %, loss 0\.\d{3}/);
    assert.match(await choices.last().textContent(), /The initial model/);
    await page.click('dialog[open] .choice:has-text("Round 18")');
    await page.click('dialog[open] button:has-text("Go back to round 18")');
    await hasText(page, '.notice', /Round 25 has the model of round 18 now/);
    assert.deepEqual(operators.orders, [{ path: 'tasks/digits/rollback', body: '{"round":18}' }]);
    await hasText(page, '#round', /^26$/);
    await hasText(page, '[aria-labelledby="rounds"] tbody tr', /^\s*25 back to 18/);
    await hasText(page, '[aria-labelledby="decisions"] tbody tr', /Rolled back to round 18, as round 25/);
  }));

test('rounds that go by while the question is open move no choice', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('#roll-back');
    await hasText(page, '#fedra-roll-back-question-yes', /Go back to round 23/);
    const { history } = operators.task('digits');
    history.push({ ...history.at(-1), round: 25 });
    await hasText(page, '#round', /^26$/);
    assert.match(await page.textContent('#fedra-roll-back-question-yes'), /Go back to round 23/);
    await page.keyboard.press('Escape');
    await page.click('#roll-back');
    await hasText(page, '#fedra-roll-back-question-yes', /Go back to round 24/);
  }));

test('a roll-back that is refused says why in the server’s words', () =>
  withAdmin(
    async (page) => {
      await signedIn(page);
      await page.click('#roll-back');
      await hasText(page, 'dialog[open] form', /Privacy that was spent stays spent/);
      await page.click('#fedra-roll-back-question-yes');
      await hasText(
        page,
        '[role="alert"] [data-code="refused"]',
        /There was no roll-back\s*Task clinic: the model of round 5 is not kept; kept are those of round 1, 2/,
      );
    },
    { address: 'admin/#/tasks/clinic' },
  ));

test('a model is exported as a file', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('#export');
    await hasText(page, 'dialog[open] .choice', /Round 24.*newest/);
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#fedra-export-question-yes')]);
    assert.equal(download.suggestedFilename(), 'digits-24.safetensors');
    assert.equal(await readFile(await download.path(), 'utf8'), 'the model of round 24');
    await hasText(page, '.notice', /Saved digits-24\.safetensors, 21 B/);
  }));

test('a new task: mistakes are shown where they are, then it is there', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('.side a:has-text("New task")');
    await page.fill('#toml', '[[task]]\n[task.round]\ncohort_size = 0\n');
    await page.click('#create');
    await hasText(page, '[role="alert"] [data-code="mistakes"]', /There are 2 mistakes/);
    assert.deepEqual(await page.locator('.mistakes code').allTextContents(), ['task[0].id', 'task[0].round.cohort_size']);
    assert.match(await page.inputValue('#toml'), /cohort_size = 0/, 'what was typed is still there');
    await page.fill('#toml', 'rubbish');
    await page.click('#create');
    await hasText(page, '.mistakes pre', /line 1, column 8\n {2}\|\n1 \| rubbish\n {2}\| {8}\^/);
    await page.fill('#toml', '');
    await page.click('#example');
    await page.click('#create');
    await hasText(page, '[data-code="refused"]', /There is a task digits already/);
    await page.fill('#toml', (await page.inputValue('#toml')).replace('"digits"', '"digits-2"').replace('digits"', 'digits, again"'));
    await page.click('#create');
    await hasText(page, '#title', /^Handwritten digits, again$/);
    assert.match(page.url(), /#\/tasks\/digits-2$/);
    await hasText(page, '.now #phase', /Waiting for clients/);
    assert.equal(
      await page
        .locator('.side a[aria-current]')
        .textContent()
        .then((text) => /again/.test(text)),
      true,
    );
    await hasText(page, '[aria-labelledby="rounds"]', /The first completed round will be here/);
  }));

test('while an order is under way the form for a new task says that it has to wait', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await page.route('**/pause', (route) => held.then(() => route.continue()));
    await page.click('#toggle');
    await page.click('.side a:has-text("New task")');
    assert.equal(await page.getAttribute('#create', 'aria-disabled'), 'true');
    release();
    await page.locator('#create:not([aria-disabled])').waitFor();
  }));

test('what was typed of a new task outlives a look at the server and a token that is taken back', () =>
  withAdmin(async (page) => {
    await signedIn(page);
    await page.click('.side a:has-text("New task")');
    await page.fill('#toml', '[[task]]\nid = "long"');
    await page.click('.side a:has-text("Server")');
    await hasText(page, '#title', /^Server$/);
    await page.goBack();
    assert.equal(await page.inputValue('#toml'), '[[task]]\nid = "long"');
    await page.route('**/v1/admin/**', (route) => route.fulfill({ status: 401, json: { detail: 'no' } }));
    await hasText(page, '.orders .beside', /does not take this token/);
    await page.unroute('**/v1/admin/**');
    await signIn(page);
    assert.equal(await page.inputValue('#toml'), '[[task]]\nid = "long"');
    await page.click('#access');
    await signIn(page);
    assert.equal(await page.inputValue('#toml'), '', 'who signs out leaves nothing');
  }));

test('the server: how long, how much, and every task in a line', () =>
  withAdmin(
    async (page) => {
      await hasText(page, 'main', /This part of the page takes the operator’s token/);
      await page.click('#ask-token');
      await page.fill('#token', TOKEN);
      await page.keyboard.press('Enter');
      await hasText(page, '#uptime', /^3 d 4 h$/);
      await hasText(page, '#memory', /^74\.6 MB$/);
      await hasText(page, '#connections', /^263$/);
      await hasText(page, '#uploads', /^4\.8 MB$/);
      assert.equal(await focused(page), 'access', 'the button that had it is gone');
      assert.equal(await page.locator('tbody tr').count(), 2);
      await page.click('tbody a');
      await hasText(page, '#title', /^Handwritten digits$/);
    },
    { address: 'admin/#/server' },
  ));

test('without a server the page says so, keeps what it knows, and goes on when it is back', () =>
  withAdmin(async (page) => {
    await hasText(page, '#round', /^25$/);
    await page.route('**/v1/**', (route) => route.abort());
    await hasText(page, '[role="alert"] [data-code="no-server"]', /No answer from the aggregator/);
    await hasText(page, '.connection', /No answer; trying again/);
    assert.equal(await page.textContent('#round'), '25');
    await page.unroute('**/v1/**');
    await hasText(page, '.connection', /Up to date/);
    assert.equal(await page.locator('[data-code]').count(), 0);
  }));

/** Counts what the page asks for, and lets the test turn its clock. */
async function countedAndTimed(page) {
  await page.clock.install();
  await page.addInitScript(() => {
    window.asked = 0;
    const { fetch } = window;
    window.fetch = (...request) => {
      window.asked += 1;
      return fetch(...request);
    };
  });
}

test('a tab that nobody sees does not ask, and asks at once when it is seen again', () =>
  withAdmin(
    async (page) => {
      await hasText(page, '#round', /^25$/);
      const see = (state) =>
        page.evaluate((visibility) => {
          Object.defineProperty(document, 'visibilityState', { value: visibility, configurable: true });
          document.dispatchEvent(new Event('visibilitychange'));
        }, state);
      const asked = () => page.evaluate(() => window.asked);
      const before = await asked();
      await page.clock.fastForward(2100);
      await page.waitForFunction((count) => window.asked > count, before);
      await see('hidden');
      const hidden = await asked();
      await page.clock.fastForward(60_000);
      assert.equal(await asked(), hidden);
      operators.task('digits').phase = 'finalizing';
      await see('visible');
      await hasText(page, '#phase', /averaged into the new model/);
    },
    { setUp: countedAndTimed },
  ));

test('by keyboard alone: sign in, pause, look at the server', () =>
  withAdmin(async (page) => {
    await hasText(page, '#round', /^25$/);
    const tabTo = async (wanted) => {
      for (let presses = 0; presses < 16; presses++) {
        await page.keyboard.press('Tab');
        if (
          await page
            .locator(wanted)
            .first()
            .evaluate((element) => element === document.activeElement)
        )
          break;
        assert.ok(presses < 15, `Tab does not reach ${wanted}`);
      }
      assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none');
    };
    await tabTo('#access');
    await page.keyboard.press('Enter');
    assert.equal(await focused(page), 'token');
    await page.keyboard.type(TOKEN);
    await page.keyboard.press('Enter');
    await hasText(page, '#access', /Sign out/);
    assert.equal(await focused(page), 'access');
    await page.locator('#toggle:not([aria-disabled])').waitFor();
    await tabTo('#toggle');
    await page.keyboard.press('Space');
    await hasText(page, '#stand', /Pausing/);
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Enter');
    await hasText(page, '#title', /^Server$/);
  }));

test('everything fits a phone of 360 pixels, and a finger hits every button', () =>
  withAdmin(async (page) => {
    const fits = async (what) => {
      assert.equal(await overflow(page), 0, what);
      const small = await page
        .locator('button:visible, .side a:visible, .choice:visible')
        .evaluateAll((targets) =>
          targets.filter((target) => target.getBoundingClientRect().height < 44).map((target) => target.textContent),
        );
      assert.deepEqual(small, [], what);
    };
    await hasText(page, '#round', /^25$/);
    await fits('a visitor');
    await page.click('#access');
    await fits('the question for the token');
    await page.fill('#token', TOKEN);
    await page.click('#enter');
    await page.locator('#decisions').waitFor();
    await fits('an operator');
    await page.click('#roll-back');
    await fits('the question for a round');
    await page.keyboard.press('Escape');
    for (const [view, seen] of [
      ['#/tasks/clinic', '#epsilon'],
      ['#/server', '#uptime'],
      ['#/new', '#toml'],
    ]) {
      await page.evaluate((hash) => (location.hash = hash), view);
      await page.locator(seen).waitFor();
      await fits(view);
    }
  }, PHONE));

/** The number of elements that have an animation, or a transition from one state to another. */
const moving = (page) =>
  page.evaluate(
    () =>
      [...document.querySelectorAll('*')].filter((element) => {
        const { animationName, transitionDuration } = getComputedStyle(element);
        return animationName !== 'none' || /[1-9]/.test(transitionDuration);
      }).length,
  );

test('with reduced motion nothing moves, and without it something does', async () => {
  for (const [reducedMotion, moves] of [
    ['no-preference', true],
    ['reduce', false],
  ]) {
    await withAdmin(
      async (page) => {
        await signedIn(page);
        assert.equal((await moving(page)) > 0, moves, reducedMotion);
      },
      { reducedMotion },
    );
  }
});
