// A client beside the person's other tabs and on their device, in a real browser with a fake
// WebAssembly module: one tab leads, rules rest, consent and log outlive the page.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launch } from '../harness/chromium.mjs';
import { Sites } from '../harness/sites.mjs';

let browser;
let sites;
let place;
before(async () => {
  sites = await Sites.start('fake');
  // Playwright switches the back/forward cache off.
  browser = await launch({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });
  place = { url: sites.page.origin, task: 'mnist' };
});
after(async () => {
  await browser?.close();
  await sites?.end();
});

/** Pages of one browser profile. */
async function profile(count = 1) {
  const context = await browser.newContext();
  const pages = [];
  for (let at = 0; at < count; at++) pages.push(await sites.open(context, sites.own));
  return { context, pages };
}

/** Connects as `window.client`; `window.told` collects what `status` and `tab` events tell. */
const connect = (page, options = {}) =>
  page.evaluate(
    async ([where, more]) => {
      const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu', ...more });
      window.client = client;
      window.told = [];
      client.addEventListener('status', ({ detail }) => window.told.push(detail.reason ?? detail.state));
      const { features, labels } = window.examples(20);
      await client.train({ features, labels, shape: [20, 784] });
      return client.latest('tab')?.leads;
    },
    [place, options],
  );

/** Waits for an event of the page's client whose field has the value. */
const sees = (page, type, field, value) =>
  page.evaluate(([kind, name, wanted]) => window.sees(window.client, kind, (event) => event[name] === wanted), [type, field, value]);

/** A promise of an event, so that it is awaited from before its cause on. */
const within = (milliseconds, promise) =>
  Promise.race([promise, new Promise((_, reject) => setTimeout(reject, milliseconds, new Error(`not within ${milliseconds} ms`)))]);

test('of two tabs one leads and the other shows its rounds; closed, the other takes over within 2 s', async () => {
  const { context, pages } = await profile(2);
  const [first, second] = pages;
  assert.equal(await connect(first, { tabs: 'one' }), true);
  assert.equal(await connect(second, { tabs: 'one' }), false);
  assert.deepEqual([first.workers().length, second.workers().length], [1, 0]);
  await sees(second, 'status', 'state', 'training');
  await sees(second, 'update', 'outcome', 'accepted');
  const turn = sees(second, 'tab', 'leads', true);
  await first.close();
  await within(2000, turn);
  await second.evaluate(() => new Promise((resolve) => window.client.addEventListener('update', resolve, { once: true })));
  assert.equal(second.workers().length, 1);
  await context.close();
});

test('a tab that goes elsewhere gives its lead up, too', async () => {
  const { context, pages } = await profile(2);
  const [first, second] = pages;
  await connect(first, { tabs: 'one' });
  await connect(second, { tabs: 'one' });
  const turn = sees(second, 'tab', 'leads', true);
  await first.goto('about:blank');
  await within(2000, turn);
  await context.close();
});

test('a hidden tab, a low battery, a wish to save data and a mobile network rest, and end', async () => {
  const { context, pages } = await profile();
  const [page] = pages;
  // The browser's own parts cannot be steered from here, or tell no change.
  await page.evaluate(() => {
    const part = (values) => Object.assign(new EventTarget(), values);
    const battery = part({ level: 0.5, charging: false });
    const connection = part({ saveData: false, type: 'wifi' });
    navigator.getBattery = async () => battery;
    Object.defineProperty(navigator, 'connection', { value: connection });
    window.device = { battery, connection, document };
    window.set = (name, event, values) => {
      for (const [key, value] of Object.entries(values)) Object.defineProperty(window.device[name], key, { configurable: true, value });
      window.device[name].dispatchEvent(new Event(event));
    };
  });
  await connect(page, { pauses: { hidden: true, battery: 0.3 } });
  for (const [reason, part, event, values, back] of [
    ['hidden', 'document', 'visibilitychange', { hidden: true }, { hidden: false }],
    ['battery', 'battery', 'levelchange', { level: 0.2 }, { level: 0.4 }],
    ['save-data', 'connection', 'change', { saveData: true }, { saveData: false }],
    ['metered', 'connection', 'change', { type: 'cellular' }, { type: 'wifi' }],
  ]) {
    const set = (to) => page.evaluate(([name, kind, given]) => window.set(name, kind, given), [part, event, to]);
    await set(values);
    await sees(page, 'status', 'reason', reason);
    await set(back);
    await sees(page, 'status', 'state', 'training');
  }
  await context.close();
});

test('a consent outlives the page, and a withdrawal in another tab ends the client and asks again', async () => {
  const { context, pages } = await profile(2);
  const [page, other] = pages;
  /** Connects with a form, answers yes, and returns the number of questions and the newest state. */
  const visit = (version) =>
    page.evaluate(
      async ([where, form]) => {
        let asked = 0;
        const consent = { text: 'We learn from your digits.', version: form, ask: () => ++asked > 0 };
        const client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu', privacy: { consent } });
        window.client = client;
        const { features, labels } = window.examples(20);
        await client.train({ features, labels, shape: [20, 784] });
        await window.sees(client, 'status', ({ state }) => state === 'training');
        return asked;
      },
      [place, version],
    );
  const kept = () => other.evaluate((where) => window.fedra.FedraClient.consent(where), place);
  assert.equal(await visit('1'), 1);
  assert.deepEqual([(await kept()).version, (await kept()).terms.policy], ['1', 'none']);
  await sites.reload(page, sites.own);
  assert.equal(await visit('1'), 0);
  await sites.reload(page, sites.own);
  assert.equal(await visit('2'), 1);
  const ended = sees(page, 'error', 'code', 'consent-revoked');
  await other.evaluate((where) => window.fedra.FedraClient.revoke(where), place);
  await ended;
  await sees(page, 'status', 'state', 'closed');
  assert.equal(await kept(), null);
  assert.equal(page.workers().length, 0);
  await sites.reload(page, sites.own);
  assert.equal(await visit('2'), 1);
  await context.close();
});

test('the log of what left outlives the page and has every round once', async () => {
  const { context, pages } = await profile();
  const [page] = pages;
  await connect(page);
  await sees(page, 'update', 'round', 6);
  const log = () => page.evaluate(async (where) => JSON.stringify(await window.fedra.FedraClient.sent(where)), place);
  // The bytes of the update are told after it.
  await sees(page, 'status', 'state', 'waiting');
  await sites.reload(page, sites.own);
  const [round] = JSON.parse(await log()).rounds;
  assert.deepEqual([round.round, round.policy, round.outcome, round.roundEpsilon], [6, 'none', 'accepted', null]);
  assert.ok(round.bytes > 700_000, String(round.bytes));
  assert.match(round.at, /^\d{4}-\d\d-\d\dT/);
  // The made-up module plays the same round again, as after a crash.
  await connect(page);
  await sees(page, 'update', 'round', 6);
  const { rounds } = JSON.parse(await log());
  assert.deepEqual(
    rounds.map((entry) => entry.round),
    [6],
  );
  await context.close();
});

test('the page goes into the back/forward cache with a connection, and the client goes on when it is back', async () => {
  const server = await acceptSockets();
  const { context, pages } = await profile();
  const [page] = pages;
  const before = place;
  place = { ...place, url: server.url };
  try {
    await connect(page, { tabs: 'one' });
    await sees(page, 'status', 'state', 'training');
    await page.evaluate(() => {
      window.wasThere = true;
      window.addEventListener('pageshow', ({ persisted }) => (window.cameBack = persisted));
    });
    await page.goto(`${sites.page.origin}/?next`);
    await page.goBack({ waitUntil: 'commit' });
    assert.deepEqual(await page.evaluate(() => [window.wasThere, window.cameBack]), [true, true]);
    await page.evaluate(() => (window.told.length = 0));
    await sees(page, 'update', 'round', 6);
    assert.ok((await page.evaluate(() => window.told)).includes('uploading'));
    assert.equal(await page.evaluate(() => window.client.latest('tab').leads), true);
  } finally {
    place = before;
    await context.close();
    await server.end();
  }
});

/** A server that accepts every socket and says nothing. */
async function acceptSockets() {
  const open = new Set();
  const server = createServer();
  server.on('upgrade', (request, socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.on('error', () => {});
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    open.add(socket);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const end = () => {
    for (const socket of open) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `ws://127.0.0.1:${server.address().port}`, end };
}
