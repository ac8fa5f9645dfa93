// The set-up that the tests of a file share: a folder, an aggregator, a browser, and
// native clients once a test starts them; with a page that has the package, too.

import assert from 'node:assert/strict';

import { Sites } from '../../../web/demo/test/harness/sites.mjs';
import { chromium, SWITCHES } from './paths.mjs';
import { Aggregator, newFolder, removeFolder, startNativeClients } from './programs.mjs';

export class Scene {
  folder = newFolder();
  clients = [];

  async start(task) {
    this.aggregator = await Aggregator.start(this.folder, task);
    this.browser = await chromium.launch({ executablePath: process.env.CHROME ?? 'chromium', args: SWITCHES });
    return this;
  }

  /** Starts native clients, which end with the rest. */
  startNativeClients(options) {
    const clients = startNativeClients(this.aggregator, options);
    this.clients.push(clients);
    return clients;
  }

  async end() {
    await this.browser?.close();
    await Promise.all(this.clients.map((clients) => clients.end()));
    const ended = await this.aggregator?.end();
    removeFolder(this.folder);
    assert.equal(ended ?? 0, 0, 'the aggregator ends well when asked to');
  }
}

/** A page with the package, and the scene's task. */
export async function setUp(task, scene = new Scene()) {
  await scene.start(task);
  const sites = await Sites.start();
  const page = await sites.open(scene.browser, sites.own);
  const end = async () => {
    await sites.end();
    await scene.end();
  };
  return { scene, sites, page, end, aggregator: scene.aggregator, place: { url: scene.aggregator.http, task: task.id } };
}
