// The pages in a real Chromium, for tests: a browser, a site, pages in it.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { launch } from './chromium.mjs';
import { makeOperators } from './operators.mjs';
import { buildPages, servePages, visitors } from './serve.mjs';

let browser;
let built;
/** The pages with the answers that visitors get; `desk` has those for operators. */
export let site;
export let desk;
export const operators = makeOperators();

before(async () => {
  built = await buildPages();
  site = await servePages(built.folder, visitors);
  desk = await servePages(built.folder, operators.answer);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.close();
  await desk?.close();
  built?.remove();
});

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

/**
 * Milliseconds of processor time of each task on the page's main thread while `act`
 * runs: the page's own cost, however busy the machine is.
 */
export async function mainThreadTasks(page, act) {
  await browser.startTracing(page, { categories: ['toplevel', 'disabled-by-default-devtools.timeline'] });
  await act();
  const { traceEvents } = JSON.parse(await browser.stopTracing());
  const thread = ({ pid, tid }) => `${pid}/${tid}`;
  const isMain = ({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain';
  const main = new Set(traceEvents.filter(isMain).map(thread));
  const isTask = (event) => event.ph === 'X' && event.name === 'RunTask' && main.has(thread(event));
  const tasks = traceEvents.filter(isTask);
  assert.ok(
    tasks.some(({ tdur }) => tdur > 0),
    `${tasks.length} tasks in the trace`,
  );
  // The shortest have no processor time of their own in it.
  return tasks.map(({ tdur, dur }) => (tdur ?? dur) / 1000);
}

/**
 * Waits until the text of `selector` matches. Looks at each change of the document, so
 * that a text which is soon replaced is seen on a busy machine too.
 */
export async function hasText(page, selector, pattern) {
  const end = Date.now() + 15_000;
  const { source, flags } = pattern;
  let last;
  do {
    last = await page.evaluate(untilText, { selector, source, flags, wait: end - Date.now() }).catch((error) => {
      // A new document: the wait goes on in it.
      if (!/Execution context was destroyed/.test(error.message)) throw error;
      return 'a document that was left';
    });
  } while (last !== null && Date.now() < end);
  assert.equal(last, null, `${selector} has no text that matches ${pattern}, but: ${last}`);
}

/** Runs in the page: `null` once the text matches, or the text that is there in the end. */
function untilText({ selector, source, flags, wait }) {
  const wanted = new RegExp(source, flags);
  const text = () => document.querySelector(selector)?.textContent ?? '';
  return new Promise((resolve) => {
    if (wanted.test(text())) return resolve(null);
    const finish = (result) => {
      observer.disconnect();
      clearTimeout(timer);
      resolve(result);
    };
    const observer = new MutationObserver(() => wanted.test(text()) && finish(null));
    observer.observe(document, { attributes: true, characterData: true, childList: true, subtree: true });
    const timer = setTimeout(() => finish(text()), wait);
  });
}
