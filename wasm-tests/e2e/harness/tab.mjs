// A tab of the real page, watched from outside: the client's events, requests, and
// long tasks of the main thread.

import { until } from './until.mjs';

/** Opens `address` in a profile of its own, with `options` of Playwright's. */
export async function openTab(browser, address, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const tab = new Tab(context, page);
  page.on('request', (request) => {
    tab.requests.push(request.url());
    tab.network.push(request);
  });
  page.on('pageerror', (error) => tab.errors.push(String(error)));
  await page.addInitScript(watch);
  await page.goto(address);
  return tab;
}

export class Tab {
  requests = [];
  /** The same, as Playwright has them. */
  network = [];
  errors = [];

  constructor(context, page) {
    this.context = context;
    this.page = page;
  }

  /** The events that the client sent to the page so far. */
  async events(type) {
    const events = await this.page.evaluate(() => window.watched.events);
    return type ? events.filter((event) => event.type === type) : events;
  }

  /** Waits for an event that satisfies `condition`; returns it. */
  async sees(what, condition, seconds = 120) {
    return await until(what, async () => (await this.events()).find(condition), {
      seconds,
      state: async () => ({ errors: this.errors, events: (await this.events()).slice(-20) }),
    });
  }

  /** The rounds to which this tab contributed. */
  async acceptedRounds() {
    return (await this.events('update')).filter(({ outcome }) => outcome === 'accepted').map(({ round }) => round);
  }

  /** Milliseconds of each long task (50 or more) since the watch was reset. */
  async longTasks() {
    return await this.page.evaluate(() => {
      if (!PerformanceObserver.supportedEntryTypes.includes('longtask')) throw new Error('this browser tells of no long tasks');
      return window.watched.longTasks;
    });
  }

  async forgetLongTasks() {
    await this.page.evaluate(() => void (window.watched.longTasks.length = 0));
  }

  async close() {
    await this.context.close();
  }
}

/** Runs in the page before its own scripts. */
function watch() {
  const watched = { events: [], longTasks: [] };
  window.watched = watched;
  const Native = window.Worker;
  window.Worker = class extends Native {
    constructor(...args) {
      super(...args);
      this.addEventListener('message', ({ data }) => {
        if (data?.type === 'event') watched.events.push(data.event);
      });
    }
  };
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) watched.longTasks.push(duration);
  }).observe({ type: 'longtask', buffered: true });
}
