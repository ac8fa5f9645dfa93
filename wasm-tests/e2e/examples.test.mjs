// The tasks of examples/tasks as an operator has them: their configs, and a tab of the real
// page that takes part in each alone.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { chromium, needed, PAGE, program, ROOT, SWITCHES } from './harness/paths.mjs';
import { Aggregator, freePort, newFolder, removeFolder } from './harness/programs.mjs';
import { openTab } from './harness/tab.mjs';
import { until } from './harness/until.mjs';

const CONFIGS = `${ROOT}examples/tasks`;
const FILES = readdirSync(CONFIGS);
const FLAGS = [...SWITCHES, '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];

const accepted = (event) => event.type === 'update' && event.outcome === 'accepted';

for (const file of FILES) {
  test(`${file} passes \`fedra-aggregator check\` from the root of a clone`, () => {
    const args = ['check', '--config', join('examples/tasks', file)];
    const { status, stdout, stderr } = spawnSync(program('fedra-aggregator'), args, { cwd: ROOT, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`task ${file.replace('.toml', '')}: \\d+ parameters`));
  });
}

/** The config of an aggregator with the page and every example, on its own port and store. */
function configuration(folder, port) {
  const tasks = FILES.map((file) => readFileSync(join(CONFIGS, file), 'utf8').split('[[task]]')[1]);
  const places = tasks.map((task) => `[[task]]${task.replaceAll('"examples/data/', `"${ROOT}examples/data/`)}`);
  const server = { listen: `127.0.0.1:${port}`, store: join(folder, 'store'), page: needed(PAGE) };
  const lines = Object.entries(server).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return ['[server]', ...lines, ...places].join('\n');
}

describe('a tab alone', { concurrency: false }, () => {
  const folder = newFolder();
  let aggregator;
  let browser;

  before(async () => {
    const port = await freePort();
    // The harness writes a config with a task of its own, which this one replaces.
    aggregator = new Aggregator(folder, port, { id: 'moby-dick', model: 'softmax-regression', learningRate: 1, minimumCohort: 1 });
    writeFileSync(aggregator.config, configuration(folder, port));
    await aggregator.start();
    browser = await chromium.launch({ executablePath: process.env.CHROME ?? 'chromium', args: FLAGS });
  });

  after(async () => {
    await browser?.close();
    const ended = await aggregator?.end();
    removeFolder(folder);
    assert.equal(ended ?? 0, 0, 'the aggregator ends well when asked to');
  });

  const open = (task, parameters) => openTab(browser, aggregator.page({ task, backend: 'cpu', ...parameters }));
  const text = (tab, selector) => tab.page.locator(selector).first().textContent();

  test('the text that the model writes changes as the tab trains', { timeout: 120_000 }, async (context) => {
    const tab = await open('moby-dick', { shard: 0 });
    await tab.page.getByRole('button', { name: 'Write' }).click();
    const untrained = await until('the untrained model has written', async () => {
      const written = await text(tab, '#written');
      return /^Call me .{60}/s.test(written) && written;
    });
    await tab.page.getByRole('button', { name: 'Stop' }).click();
    assert.equal((await aggregator.state()).round, 0, 'no round without data');
    await tab.page.click('#start');
    await tab.sees('an update is accepted', accepted);
    const trained = await until(
      'the model has written after some rounds',
      async () => {
        const [round] = /\d+/.exec(await text(tab, '.passage figcaption')) ?? [];
        const written = await text(tab, '#written');
        return Number(round) >= 3 && written.length > 120 && written;
      },
      { seconds: 90, state: () => text(tab, '.writer') },
    );
    context.diagnostic(`before: ${JSON.stringify(untrained)}`);
    context.diagnostic(`after: ${JSON.stringify(trained)}`);
    // Every sixth character of English is a space, or nearly; of an untrained model one in 67.
    const spaces = (written) => written.slice('Call me '.length).split(' ').length / written.length;
    assert.ok(spaces(trained) > 0.08, trained);
    assert.ok(spaces(untrained) < spaces(trained), untrained);
    const { latest, headline } = await aggregator.reaches('the model is evaluated', (state) => state.latest?.round >= 3);
    assert.equal(headline, 'bits_per_token');
    assert.ok(latest.bits_per_token < 4.2, `${latest.bits_per_token} bits a token; by chance it is 6.07`);
    assert.deepEqual(tab.errors, []);
    await tab.close();
  });

  test('a row of the table is read as the tab trains on others', { timeout: 120_000 }, async () => {
    const tab = await open('phase-of-flight', { shard: 4 });
    await tab.page.getByRole('button', { name: 'Ask the model' }).click();
    await until('an observer reads the row', async () => /% sure\./.test(await text(tab, '.row-reader .verdict')), {
      state: () => text(tab, '.row-reader'),
    });
    await tab.page.click('#start');
    await tab.sees('an update is accepted', accepted);
    await tab.page.getByLabel('Speed IAS in knots').fill('0');
    await until('a standing aircraft is not in the air', async () => {
      const phase = await text(tab, '.row-reader .read');
      return ['Parked', 'Taxi', 'Take-off run', 'Landing Roll'].includes(phase);
    });
    assert.deepEqual(tab.errors, []);
    await tab.close();
  });

  test('pictures of two classes are told apart, and the page may use the camera', { timeout: 120_000 }, async () => {
    const tab = await open('teach');
    const picture = async (colour) => {
      const data = await tab.page.evaluate((fill) => {
        const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
        const pen = canvas.getContext('2d');
        pen.fillStyle = fill;
        pen.fillRect(0, 0, 64, 64);
        return canvas.toDataURL('image/png').split(',')[1];
      }, colour);
      return { name: `${colour}.png`, mimeType: 'image/png', buffer: Buffer.from(data, 'base64') };
    };
    for (const [index, colour] of ['black', 'white'].entries()) {
      const files = Array(6).fill(await picture(colour));
      await tab.page.locator('.lessons li').nth(index).locator('input[type="file"]').setInputFiles(files);
    }
    await tab.page.locator('#start:not([disabled])').click();
    await tab.sees('an update is accepted', accepted);
    for (const [colour, name] of [
      ['white', 'B'],
      ['black', 'A'],
    ]) {
      await tab.page.getByLabel('Ask about a picture').setInputFiles(await picture(colour));
      await until(`${colour} is ${name}`, async () => (await text(tab, '.teacher .read')) === name, {
        state: () => text(tab, '.teacher'),
      });
    }
    await tab.page.getByRole('button', { name: 'Use the camera' }).click();
    await until('the camera is on', async () => await tab.page.evaluate(() => document.querySelector('video').srcObject?.active === true));
    assert.deepEqual(tab.errors, []);
    await tab.close();
  });
});
