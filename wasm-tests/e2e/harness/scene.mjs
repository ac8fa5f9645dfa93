// The set-up that the tests of a file share: a folder, an aggregator, a browser, and
// native clients once a test starts them.

import assert from 'node:assert/strict';

import { chromium, SWITCHES } from './paths.mjs';
import { Aggregator, newFolder, removeFolder, startNativeClients } from './programs.mjs';

export class Scene {
  folder = newFolder();

  async start(task) {
    this.aggregator = await Aggregator.start(this.folder, task);
    this.browser = await chromium.launch({ executablePath: process.env.CHROME ?? 'chromium', args: SWITCHES });
    return this;
  }

  /** Starts native clients, which end with the rest. */
  startNativeClients(options) {
    this.clients = startNativeClients(this.aggregator, options);
    return this.clients;
  }

  async end() {
    await this.browser?.close();
    await this.clients?.end();
    const ended = await this.aggregator?.end();
    removeFolder(this.folder);
    assert.equal(ended ?? 0, 0, 'the aggregator ends well when asked to');
  }
}
