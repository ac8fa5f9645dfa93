// Files that the package keeps in a real browser's storage, with a fake WebAssembly module.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from '../harness/chromium.mjs';
import { Sites } from '../harness/sites.mjs';

let browser;
let sites;
let place;
before(async () => {
  sites = await Sites.start('fake');
  browser = await launch();
  place = { url: sites.page.origin, task: 'mnist' };
});
after(async () => {
  await browser?.close();
  await sites?.end();
});

/** Runs `act` in the page with the package, a place and a text. */
const inPage = (page, act, text) =>
  page.evaluate(
    ([source, where, given]) => {
      const run = new Function('fedra', 'place', 'text', `return (${source})(fedra, place, text);`);
      return run(window.fedra.FedraClient, where, given);
    },
    [String(act), place, text],
  );
const kept = (page) =>
  inPage(page, async (fedra, where) => {
    const found = await fedra.kept(where);
    return found && [found.bytes, found.files, found.since instanceof Date];
  });
/** Connects, trains on a file and keeps it; the code of the failure, if there is one. */
const keep = (page, text) =>
  inPage(
    page,
    async (fedra, where, given) => {
      const client = await fedra.connect({ ...where, backend: 'cpu' });
      await client.train({ files: [new File([given], 'people.csv'), new Blob(['b\n'])] });
      const failure = await window.failure(client.keep());
      await client.close();
      return failure?.code;
    },
    text,
  );

test('files are there after a reload with their contents, and gone once they are forgotten', async () => {
  const page = await sites.open(browser, sites.own);
  assert.equal(await kept(page), null);
  assert.equal(await keep(page, 'größe\n1\n2\n'), undefined);
  await sites.reload(page, sites.own);
  assert.deepEqual(await kept(page), [14, 2, true]);
  const read = await inPage(page, async (fedra, where) => {
    const client = await fedra.connect({ ...where, backend: 'cpu' });
    const readings = [];
    await client.trainKept({ onReading: (reading) => readings.push(reading) });
    const { outcome } = await window.sees(client, 'update');
    await client.close();
    const { bytes, total } = readings.at(-1);
    return [bytes, total, outcome];
  });
  assert.deepEqual(read, [14, 14, 'accepted']);
  await inPage(page, (fedra, where) => fedra.forget(where));
  assert.equal(await kept(page), null);
  await sites.reload(page, sites.own);
  assert.equal(await kept(page), null);
  await page.close();
});

test('where the browser has no room, the files before stay', async () => {
  const page = await sites.open(browser, sites.own);
  const session = await page.context().newCDPSession(page);
  await session.send('Storage.overrideQuotaForOrigin', { origin: sites.page.origin, quotaSize: 500_000 });
  assert.equal(await keep(page, 'a\n1\n'), undefined);
  assert.equal(await keep(page, 'a line\n'.repeat(200_000)), 'storage-full');
  assert.deepEqual(await kept(page), [6, 2, true]);
  await page.close();
});
