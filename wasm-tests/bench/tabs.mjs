// Tabs of the real page that take part in a task until they are told to end. A
// line for each update of theirs.
//
// node tabs.mjs PAGE TASK TABS EXAMPLES

import { chromium, SWITCHES } from '../e2e/harness/paths.mjs';
import { openTab } from '../e2e/harness/tab.mjs';

const [address, task, count, examples] = process.argv.slice(2);
const POLL_MS = 200;

let ending = false;
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    ending = true;
  });
}
const browser = await chromium.launch({
  executablePath: process.env.CHROME ?? 'chromium',
  args: SWITCHES,
  // A signal ends this program first, and that closes the browser.
  handleSIGTERM: false,
  handleSIGINT: false,
});
try {
  const tabs = Array.from({ length: Number(count) }, (_, index) => takePart(index));
  await Promise.all(tabs);
} catch (error) {
  // Told to end, the browser may be gone before its tabs are.
  if (!ending) throw error;
} finally {
  await browser.close().catch(() => {});
}

/** One tab, from opening it to the end. */
async function takePart(index) {
  const query = new URLSearchParams({ task, examples, backend: 'cpu', start: '1' });
  const tab = await openTab(browser, `${address}?${query}`);
  const agree = tab.page.getByRole('button', { name: /agree/i });
  let told = 0;
  while (!ending) {
    const events = await tab.events();
    for (const event of events.slice(told)) tell(index, event);
    told = events.length;
    const state = events.findLast(({ type }) => type === 'status')?.state;
    if (state === 'consent' && (await agree.isVisible())) await agree.click();
    if (tab.errors.length > 0) throw new Error(tab.errors.join('\n'));
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function tell(index, event) {
  const { type, outcome, round, code, message } = event;
  if (type === 'update') console.log(`tab ${index}: ${outcome} in round ${round}`);
  if (type === 'error') console.log(`tab ${index}: ${code}: ${message}`);
}
