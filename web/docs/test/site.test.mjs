/** The built site: every link and anchor resolves, and its main pages work and are accessible in a browser. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../../wasm-tests/e2e/harness/until.mjs';
import { address, FILES } from '../pages.mjs';
import { AXE, built, launch, SITE, serve } from './harness/site.mjs';

/** Pages of each kind: long, with code, with tables, with pictures, with charts. */
const MAIN = ['/', '/overview.html', '/start/embed.html', '/guides/privacy-people.html', '/results/bytes.html'];

const html = built();
/** Attributes of a page's elements, with entities as text. */
const attributes = (text, name) =>
  [...text.matchAll(new RegExp(`\\s${name}="([^"]*)"`, 'g'))].map(([, value]) =>
    value.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&#39;', "'"),
  );

describe('the site', { concurrency: false }, () => {
  let site;
  let browser;
  before(async () => {
    site = await serve();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    site?.close();
  });

  test('every page of the menu is there', () => {
    const missing = FILES.map((file) => `/${address(file)}.html`).filter((name) => !html.has(name));
    assert.deepEqual(missing, []);
  });

  test('every link, picture and anchor of the site resolves', () => {
    const ids = new Map([...html].map(([name, text]) => [name, new Set(attributes(text, 'id'))]));
    const broken = [];
    for (const [name, text] of html) {
      for (const href of [...attributes(text, 'href'), ...attributes(text, 'src')]) {
        const to = new URL(href, `http://site${name}`);
        if (to.host !== 'site') continue;
        const path = decodeURIComponent(to.pathname).replace(/\/$/, '/index.html');
        const anchor = decodeURIComponent(to.hash.slice(1));
        if (path.startsWith('/reference/')) continue;
        if (!existsSync(join(SITE, path))) broken.push(`${name}: ${href}`);
        else if (anchor && ids.has(path) && !ids.get(path).has(anchor)) broken.push(`${name}: ${href} has no such anchor`);
      }
    }
    assert.deepEqual([...new Set(broken)], []);
  });

  test('nothing is loaded from elsewhere', () => {
    const foreign = [...html].flatMap(([name, text]) =>
      [...text.matchAll(/<(?:script|link|img|iframe)\b[^>]*\s(?:src|href)="(https?:|\/\/)[^"]*"/g)].map(([tag]) => `${name}: ${tag}`),
    );
    assert.deepEqual(foreign, []);
  });

  for (const [width, colorScheme] of [
    [1280, 'light'],
    [390, 'dark'],
  ]) {
    test(`main pages fit ${width} pixels, ${colorScheme}, have no error, and axe finds nothing`, async () => {
      const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, reducedMotion: 'reduce' });
      const problems = [];
      for (const path of MAIN) {
        const page = await context.newPage();
        page.on('pageerror', (error) => problems.push(`${path}: ${error.message}`));
        await page.goto(site.url + path, { waitUntil: 'networkidle' });
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (over > 0) problems.push(`${path}: ${over} pixels too wide`);
        await page.evaluate(AXE);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        for (const { id, nodes } of violations) problems.push(`${path}: ${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`);
        await page.close();
      }
      await context.close();
      assert.deepEqual(problems, []);
    });
  }

  test('a search finds a key of the config', async () => {
    const page = await browser.newPage();
    await page.goto(site.url, { waitUntil: 'networkidle' });
    const field = page.locator('.VPLocalSearchBox input');
    // The key works once the page's script runs.
    await until('the search opens', async () => {
      await page.keyboard.press('/');
      return await field.waitFor({ timeout: 1000 }).then(
        () => true,
        () => false,
      );
    });
    await field.fill('reconnect_grace');
    await page.locator('.VPLocalSearchBox .result').first().waitFor();
    await page.close();
  });
});
