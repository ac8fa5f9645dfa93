// Files on their way into the module: pieces, archives, addresses, abort. Pictures need a
// browser; the end-to-end tests have some.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { afterEach, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readFiles } from '../dist/files.js';
import { FedraClient } from '../dist/index.js';
import { checkFiles } from '../dist/validate.js';
import { FakeWorker } from './fake-worker.mjs';
import { zip } from './zip.mjs';

/** A reader that records what it is given. */
class FakeReader {
  examples = 0;
  files = [];
  open(name, isLabels) {
    this.files.push({ name, isLabels, bytes: [], closed: false });
  }
  push(bytes) {
    this.files.at(-1).bytes.push(...bytes);
    this.examples += 1;
  }
  close() {
    this.files.at(-1).closed = true;
  }
  get texts() {
    return this.files.map(({ name, isLabels, bytes, closed }) => {
      assert.ok(closed, name);
      return [name, isLabels, Buffer.from(bytes).toString()];
    });
  }
}

const read = async (data, { reader = new FakeReader(), signal = new AbortController().signal, page } = {}) => {
  const reports = [];
  await readFiles(reader, checkFiles(data, page), signal, (report) => reports.push(report));
  return { reader, reports };
};
const file = (text, name) => new File([text], name);

test('files are handed over in their order with their names, gzipped ones unpacked', async () => {
  const packed = new File([gzipSync('x,y\n3,4\n')], 'größe.CSV.gz');
  const { reader, reports } = await read({ files: [file('x,y\n1,2\n', 'a.csv'), packed], labels: new Blob(['7']) });
  const plain = await read({ files: file('x,y\n1,2\n', 'a.csv') });
  assert.equal(plain.reports[0].total, 8);
  assert.deepEqual(reader.texts, [
    ['a.csv', false, 'x,y\n1,2\n'],
    ['größe.CSV.gz', false, 'x,y\n3,4\n'],
    ['the labels', true, '7'],
  ]);
  assert.deepEqual(reports[0], { bytes: 0, total: undefined, examples: 0 });
  assert.equal(reports.at(-1).examples, 3);
});

test('a damaged gzip file is named', async () => {
  const cut = new File([gzipSync('x,y\n1,2\n').subarray(0, 15)], 'a.csv.gz');
  await assert.rejects(read({ files: cut }), { code: 'bad-dataset', message: /^a\.csv\.gz: cannot be read: / });
});

test('the two arrays of an archive are read by their names', async () => {
  for (const [names, method] of [
    [['features', 'labels'], 8],
    [['x', 'y'], 0],
  ]) {
    const archive = zip({ [`${names[1]}.npy`]: 'labels', [`${names[0]}.npy`]: 'features' }, method);
    const { reader } = await read({ files: new File([archive], 'a.npz') });
    assert.deepEqual(reader.texts, [
      [`a.npz/${names[0]}`, false, 'features'],
      [`a.npz/${names[1]}`, true, 'labels'],
    ]);
  }
});

test('an archive that is none, or lacks an array, is refused', async () => {
  const refused = (bytes, message) => assert.rejects(read({ files: new File([bytes], 'a.npz') }), { code: 'bad-dataset', message });
  await refused('no zip', /^a\.npz: it is no ZIP archive/);
  await refused(zip({ 'a.npy': '1', 'b.npy': '2' }), /needs the arrays features and labels, or x and y; it has a, b/);
  await refused(zip({ 'x.npy': '1', 'y.npy': '2' }, 14), /packed by method 14; save it with numpy\.savez/);
  const whole = zip({ 'x.npy': 'abc', 'y.npy': 'abc' });
  await refused(whole.subarray(20), /no ZIP archive, or a damaged one/);
});

test('an address is fetched, from the page on if it is relative', async () => {
  const server = createServer((request, response) => {
    response.statusCode = request.url === '/data/a%20b.csv' ? 200 : 404;
    response.end('x\n1\n');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const page = `http://127.0.0.1:${server.address().port}/data/page.html`;
  try {
    const { reader, reports } = await read({ files: 'a b.csv' }, { page });
    assert.deepEqual(reader.texts, [['a b.csv', false, 'x\n1\n']]);
    assert.equal(reports[0].total, undefined);
    await assert.rejects(read({ files: new URL('none.csv', page) }), {
      code: 'bad-dataset',
      message: /^none\.csv: cannot be fetched: the server answers 404/,
    });
  } finally {
    server.close();
  }
  await assert.rejects(read({ files: 'gone.csv' }, { page }), { code: 'bad-dataset', message: /^gone\.csv: cannot be fetched: / });
});

test('a mistake of the reader ends the reading, and an abort too', async () => {
  const reader = new FakeReader();
  reader.push = () => {
    throw new Error('a.csv, line 2: wrong');
  };
  await assert.rejects(read({ files: [file('x', 'a.csv'), file('x', 'b.csv')] }, { reader }), /line 2: wrong/);
  assert.equal(reader.files.length, 1);
  const controller = new AbortController();
  const slow = new FakeReader();
  slow.push = () => controller.abort(new Error('enough'));
  await assert.rejects(read({ files: [file('x', 'a.csv')] }, { reader: slow, signal: controller.signal }), /enough/);
});

test('an abort gets its turn while pieces come one after another', async () => {
  class Flood extends Blob {
    stream() {
      const end = performance.now() + 1000;
      const pull = (controller) => (performance.now() < end ? controller.enqueue(new Uint8Array(1)) : controller.close());
      return new ReadableStream({ pull });
    }
  }
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error('enough')));
  await assert.rejects(read({ files: new Flood() }, { signal: controller.signal }), /enough/);
});

let restore;
beforeEach(() => (restore = FakeWorker.install()));
afterEach(() => restore());

test('files go to the worker with their options, and its reports to the page', async () => {
  const client = await FedraClient.connect({ url: 'ws://127.0.0.1:8080/v1/connect', task: 'people' });
  const worker = FakeWorker.last;
  const reports = [];
  const trained = client.train(
    { files: file('x,y\n', 'a.csv') },
    { delimiter: ';', decimal: ',', maxExamples: 10, seed: 3, onReading: (report) => reports.push(report) },
  );
  const sent = worker.sent.at(-1);
  assert.equal(sent.type, 'files');
  assert.deepEqual(sent.options, { delimiter: ';', decimal: ',', maxExamples: 10, seed: 3 });
  assert.deepEqual(
    sent.files.map(({ name, isLabels }) => [name, isLabels]),
    [['a.csv', false]],
  );
  worker.say({ type: 'reading', id: sent.id, bytes: 4, total: 8, examples: 1 });
  assert.deepEqual(reports, [{ bytes: 4, total: 8, examples: 1 }]);
  worker.say({ type: 'done', id: sent.id });
  await trained;
});

for (const [name, data, message] of [
  ['no file', { files: [] }, /at least one file/],
  ['a file that is none', { files: [7] }, /a File, a Blob, or an address/],
  ['an address that is none', { files: 'https://[' }, /is not an address/],
  ['a misplaced option', { files: 'a', delimiter: ';' }, /has no delimiter; it may have files, labels/],
  ['no picture', { images: [] }, /at least one picture/],
  ['a picture without a class', { images: [{ file: 'http://x/a.png' }] }, /\{ file, label \}/],
]) {
  test(`refused: ${name}`, async () => {
    const client = await FedraClient.connect({ url: 'ws://127.0.0.1:8080/v1/connect', task: 'people' });
    await assert.rejects(client.train(data), { code: 'bad-dataset', message });
  });
}

for (const options of [{ delimiter: ';;' }, { decimal: ':' }, { maxExamples: 0 }, { seed: -1 }, { onReading: 1 }]) {
  test(`refused: the option ${JSON.stringify(options)}`, async () => {
    const client = await FedraClient.connect({ url: 'ws://127.0.0.1:8080/v1/connect', task: 'people' });
    await assert.rejects(client.train({ files: file('x', 'a.csv') }, options), { code: 'invalid-options' });
  });
}
