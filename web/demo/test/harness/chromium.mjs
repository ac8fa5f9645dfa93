// The browser that the page tests run in.
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // A made-up camera, which every page may use.
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
];

/** A browser, to be closed. `more` are further options of Playwright's. */
export const launch = (more = {}) => chromium.launch({ executablePath: findChromium(), args: FLAGS, ...more });

/** CHROME, or the first of the usual names on the PATH. */
function findChromium() {
  if (process.env.CHROME) return process.env.CHROME;
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = ['chromium', 'chromium-browser', 'google-chrome']
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .find(existsSync);
  if (!found) throw new Error('no Chromium on the PATH; install it, or name one in CHROME');
  return found;
}
