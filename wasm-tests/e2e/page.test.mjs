// The page over the real aggregator as a visitor's network sees it: the bytes of a
// first visit, and the page below a path of another site, behind a real nginx.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { get } from './harness/https.mjs';
import { Nginx } from './harness/nginx.mjs';
import { Scene } from './harness/scene.mjs';
import { openTab } from './harness/tab.mjs';
import { until } from './harness/until.mjs';

const TASK = { id: 'digits', model: 'softmax-regression', learningRate: 0.1, minimumCohort: 1 };
/** The most bytes of page, scripts, styles and WebAssembly together. */
const LIMIT = 750_000;

const accepted = (event) => event.type === 'update' && event.outcome === 'accepted';

/** The kind of an address of the aggregator, for a visitor. */
function kindOf(pathname) {
  if (pathname.startsWith('/data/')) return 'digits';
  if (pathname.startsWith('/v1/models/')) return 'model';
  if (pathname.startsWith('/v1/')) return 'API';
  return 'page';
}

describe('the page on the wire', { concurrency: false }, () => {
  const scene = new Scene();
  let aggregator;
  let browser;

  before(async () => {
    ({ aggregator, browser } = await scene.start(TASK));
  });

  after(() => scene.end());

  test('a first visit takes at most 0.75 MB for the page', async (context) => {
    const tab = await openTab(browser, aggregator.page({ backend: 'cpu', examples: 200, start: 1 }));
    await tab.sees('an update is accepted', accepted);
    const accepts = (await tab.network[0].allHeaders())['accept-encoding'];
    const bytes = { page: 0, digits: 0, model: 0, API: 0 };
    const page = [];
    for (const address of tab.requests) {
      // The browser does not tell what a worker's requests took, so each is made again.
      const { headers, head, body } = await get(address, { headers: { 'accept-encoding': accepts } });
      const { pathname } = new URL(address);
      bytes[kindOf(pathname)] += head + body.length;
      if (kindOf(pathname) === 'page') page.push(pathname);
      context.diagnostic(`${pathname}: ${body.length} bytes, ${headers['content-encoding'] ?? 'as it is'}`);
    }
    for (const [kind, sum] of Object.entries(bytes)) context.diagnostic(`${kind}: ${sum} bytes`);
    const modules = page.filter((path) => path.endsWith('.wasm'));
    assert.equal(modules.length, 1, `the module is among ${page}`);
    assert.ok(bytes.page > 100_000, 'the module alone has more');
    assert.ok(bytes.page <= LIMIT, `the page took ${bytes.page} bytes`);
    await tab.close();
  });

  test('a second visit asks for no file with a hash in its name again', async () => {
    const tab = await openTab(browser, aggregator.page({ backend: 'cpu' }));
    const files = () => tab.network.filter((request) => /\/assets\//.test(request.url()));
    await until('the page has its scripts', async () => files().length >= 2);
    for (const request of files()) {
      const cache = (await (await request.response()).allHeaders())['cache-control'];
      assert.match(cache, /immutable/, request.url());
    }
    const index = await fetch(`${aggregator.http}/`);
    assert.equal(index.headers.get('cache-control'), 'no-cache');
    await tab.page.reload();
    const taken = () =>
      tab.page.evaluate(() => {
        const files = performance.getEntriesByType('resource').filter(({ name }) => /\/assets\//.test(name));
        return files.map(({ name, transferSize }) => [name, transferSize]);
      });
    await until('the page has its scripts again', async () => (await taken()).length >= 2, { state: taken });
    // The size of what came from the browser's cache is zero.
    assert.deepEqual(
      (await taken()).filter(([, bytes]) => bytes > 0),
      [],
    );
    await tab.close();
  });

  test("below a path of another site the page opens and trains, and so does the operator's", async () => {
    const nginx = await Nginx.start(scene.folder, { upstream: aggregator.port });
    try {
      const tab = await openTab(browser, `${nginx.url}?backend=cpu&examples=200&start=1`, { ignoreHTTPSErrors: true });
      await tab.sees('an update is accepted', accepted);
      assert.deepEqual(tab.errors, []);
      assert.deepEqual(
        tab.requests.filter((address) => !address.startsWith(nginx.url)),
        [],
        'nothing outside of the path',
      );
      // Without the slash at the end, as it may be typed.
      await tab.page.goto(`${nginx.url}admin`);
      assert.equal(tab.page.url(), `${nginx.url}admin/`);
      const title = () => tab.page.evaluate(() => document.querySelector('#title')?.textContent?.trim());
      await until("the operator's page shows the task", async () => (await title()) === 'End to end', { state: title });
      assert.deepEqual(
        tab.requests.filter((address) => !address.startsWith(nginx.url)),
        [],
        'nothing outside of the path',
      );
      await tab.close();
      for (const [path, task] of [
        ['v1/tasks', ([first]) => first],
        ['v1/tasks/digits', (only) => only],
      ]) {
        const { body } = await nginx.get(path);
        const { url } = task(JSON.parse(body)).model;
        const model = new URL(url, `${nginx.url}${path}`).href;
        assert.ok(model.startsWith(nginx.url), model);
        assert.equal((await nginx.get(model.slice(nginx.url.length))).status, 200, model);
      }
    } finally {
      await nginx.end();
    }
  });
});
