// The pages in a real Chromium, for tests: a browser, a site, pages in it.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { makeOperators } from './operators.mjs';
import { buildPages, servePages, visitors } from './serve.mjs';

const FLAGS = ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

let browser;
let built;
/** The pages beside what visitors are answered, and beside what operators are. */
export let site;
export let desk;
export const operators = makeOperators();

before(async () => {
  built = await buildPages();
  site = await servePages(built.folder, visitors);
  desk = await servePages(built.folder, operators.answer);
  browser = await chromium.launch({ executablePath: findChromium(), args: FLAGS });
});
after(async () => {
  await browser?.close();
  await site?.close();
  await desk?.close();
  built?.remove();
});

/** CHROME, or the first of the usual names on the PATH. */
function findChromium() {
  if (process.env.CHROME) return process.env.CHROME;
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = ['chromium', 'chromium-browser', 'google-chrome'].flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
  if (!found) throw new Error('no Chromium on the PATH; install it, or name one in CHROME');
  return found;
}

/** Opens the page, runs `body`, and fails on any error that the page had, or breach of its policy. */
export async function withPage(query, body, { setUp, at = site, ...context } = {}) {
  const opened = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...context });
  const page = await opened.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    if (/Content Security Policy/i.test(message.text())) errors.push(message.text());
  });
  await setUp?.(page);
  at.requests.length = 0;
  await page.goto(at.url + query);
  await body(page);
  await opened.close();
  assert.deepEqual(errors, []);
}

export const hasText = (page, selector, pattern) =>
  page.waitForFunction(
    ([where, source]) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ''),
    [selector, pattern.source],
    { timeout: 15_000 },
  );
