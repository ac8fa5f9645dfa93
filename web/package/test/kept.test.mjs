// Files that are kept in the browser, and files that are read again because the task has
// changed. Storage is made up here; the end-to-end tests have a browser's.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FedraClient } from '../dist/index.js';
import { REMEDIES } from '../dist/remedies.js';
import { FakeIndexedDb } from './fake-indexed-db.mjs';
import { FakeWorker } from './fake-worker.mjs';

const PLACE = { url: 'ws://127.0.0.1:8080/v1/connect', task: 'people' };

let storage;
let undo;
beforeEach(() => {
  const installed = FakeIndexedDb.install();
  storage = installed.storage;
  const restore = FakeWorker.install();
  undo = () => {
    restore();
    installed.restore();
  };
});
afterEach(() => {
  assert.equal(storage.opened, 0, 'every database is closed');
  undo();
});

const connect = async (place = PLACE) => {
  const client = await FedraClient.connect(place);
  const worker = FakeWorker.last;
  const given = () => worker.sent.filter(({ type }) => type === 'files' || type === 'dataset');
  const errors = [];
  client.addEventListener('error', ({ detail }) => errors.push(detail));
  return {
    client,
    worker,
    given,
    errors,
    /** Resolves once the worker was given `count` data sets in all. */
    async was(count) {
      while (given().length < count) await new Promise(setImmediate);
      return given().at(-1);
    },
    takes: (at = -1) => worker.say({ type: 'done', id: given().at(at).id }),
    refuses: (code, message) => worker.say({ type: 'refused', id: given().at(-1).id, code, message }),
    says: (event) => worker.say({ type: 'event', event }),
  };
};

/** A client that trains on these files. */
const trained = async (data, options) => {
  const scene = await connect();
  const training = scene.client.train(data, options);
  scene.takes();
  await training;
  return scene;
};

const csv = (text = 'age\n1\n') => new Blob([text]);

test('nothing is stored before a page asks for it, and without a client nothing is started', async () => {
  await trained({ files: csv() });
  assert.equal(storage.entries.size, 0);
  assert.equal(await FedraClient.kept(PLACE), null);
  assert.equal(FakeWorker.all.length, 1, 'the one of the client');
});

test('files that are kept are trained on at a later visit, with their names, labels and options', async () => {
  const images = ['cat', 'dog'].map((label) => ({ file: csv(label), label }));
  const { client } = await trained({ images }, { maxExamples: 7, seed: 3 });
  const before = Date.now();
  const kept = await client.keep();
  assert.deepEqual([kept.bytes, kept.files], [6, 2]);
  assert.ok(kept.since.getTime() >= before && kept.since.getTime() <= Date.now());

  assert.deepEqual(await FedraClient.kept({ ...PLACE, url: 'http://127.0.0.1:8080' }), kept, 'by any form of the address');
  const later = await connect();
  const training = later.client.trainKept({ timeout: Infinity });
  const { files, options } = await later.was(1);
  assert.deepEqual(
    files.map(({ name, label, isLabels }) => [name, label, isLabels]),
    [
      ['the file', 'cat', false],
      ['the file', 'dog', false],
    ],
  );
  assert.equal(await files[1].source.text(), 'dog');
  assert.deepEqual(options, { decimal: '.', maxExamples: 7, seed: 3 });
  later.takes();
  await training;
});

test('each task of each aggregator has its own files, and new ones replace them', async () => {
  const { client, given, takes } = await trained({ files: csv() });
  await client.keep();
  for (const other of [{ task: 'others' }, { url: 'ws://127.0.0.1:8081' }]) {
    assert.equal(await FedraClient.kept({ ...PLACE, ...other }), null);
  }
  const training = client.train({ files: [csv('abc'), csv('next')], labels: 'https://example.org/y.npy' });
  takes();
  await training;
  assert.equal(given().length, 2);
  const { bytes, files } = await client.keep();
  assert.deepEqual([bytes, files], [7, 3], 'of an address nothing but the address is kept');
  assert.equal(storage.entries.size, 1);
});

test('forgetting removes the files of this task alone; a client that trains on them goes on', async () => {
  const { client } = await trained({ files: csv() });
  await client.keep();
  storage.entries.set('another', {});
  await FedraClient.forget(PLACE);
  assert.deepEqual([...storage.entries.keys()], ['another']);
  assert.equal(await FedraClient.kept(PLACE), null);
  await assert.rejects(client.trainKept(), { code: 'nothing-kept', message: /no files for the task people: give some with train/ });
  await FedraClient.forget(PLACE);
  assert.equal((await client.keep()).files, 1, 'the client has them still');
});

test('only files that were taken are kept', async () => {
  const nothing = { code: 'nothing-to-keep', message: /call keep once train has taken some; arrays are not kept/ };
  const { client, takes, refuses } = await connect();
  await assert.rejects(client.keep(), nothing);
  const arrays = client.train({ features: Float32Array.of(1), labels: [0], shape: [1, 1] });
  takes();
  await arrays;
  await assert.rejects(client.keep(), nothing);
  const files = client.train({ files: csv() });
  await assert.rejects(client.keep(), nothing, 'they are being read');
  refuses('bad-dataset', 'people.csv, line 2: no');
  await assert.rejects(files, { code: 'bad-dataset' });
  await assert.rejects(client.keep(), nothing);
  assert.equal(storage.entries.size, 0);
});

test('where there is no room the earlier files stay, and the client goes on', async () => {
  const { client, takes } = await trained({ files: csv('old') });
  await client.keep();
  const training = client.train({ files: csv('newer') });
  takes();
  await training;
  storage.aborts = 'QuotaExceededError';
  await assert.rejects(client.keep(), ({ code, cause }) => code === 'storage-full' && cause.name === 'QuotaExceededError');
  assert.equal((await FedraClient.kept(PLACE)).bytes, 3);
});

test('a file that has gone since it was chosen is named, and the earlier files stay', async () => {
  const gone = new File(['abc'], 'gone.csv');
  const { client, worker, takes } = await trained({ files: csv('old') });
  await client.keep();
  const training = client.train({ files: [csv(), gone] });
  takes();
  await training;
  gone.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException('it is not there', 'NotFoundError')) });
  await assert.rejects(client.keep(), {
    code: 'bad-dataset',
    message: 'gone.csv: cannot be read (it is not there); choose the file again',
  });
  assert.equal((await FedraClient.kept(PLACE)).bytes, 3);
  const closing = client.close();
  worker.say({ type: 'closed' });
  await closing;
  await assert.rejects(client.keep(), { code: 'closed' });
});

test('a browser that stores nothing says so in each call', async () => {
  const { client } = await trained({ files: csv() });
  const none = { code: 'no-storage', message: /storage cannot be used \(no storage here\); allow this site/ };
  storage.refuses = 'InvalidStateError';
  for (const call of [() => client.keep(), () => client.trainKept(), () => FedraClient.kept(PLACE), () => FedraClient.forget(PLACE)]) {
    await assert.rejects(call, none);
  }
  delete globalThis.indexedDB;
  await assert.rejects(FedraClient.kept(PLACE), { code: 'no-storage' });
});

test('the options of the calls are checked', async () => {
  const { client } = await connect();
  await assert.rejects(client.trainKept({ seed: 3 }), { code: 'invalid-options', message: /trainKept has no seed/ });
  await assert.rejects(client.trainKept({ timeout: 0 }), { code: 'invalid-options' });
  await assert.rejects(FedraClient.kept({ task: 'people' }), { code: 'invalid-options' });
  await assert.rejects(FedraClient.forget({ ...PLACE, signal: undefined }), { code: 'invalid-options', message: /forget has no signal/ });
});

const TASK = { type: 'task', id: 'people' };
const UNFIT = { type: 'error', code: 'bad-dataset', message: 'read as the task described its data before', fatal: false };
const TOLD = { ...UNFIT, remedy: REMEDIES['bad-dataset'] };

test('files that no longer fit a changed task are read again, and the page hears of nothing', async () => {
  const { client, says, was, takes, errors, given } = await trained({ files: csv() }, { delimiter: ';' });
  says(TASK);
  says(UNFIT);
  const { id, ...again } = await was(2);
  const { id: first, ...given0 } = given()[0];
  assert.notEqual(id, first);
  assert.deepEqual(again.options, given0.options);
  takes();
  assert.deepEqual(errors, []);
  assert.equal((await client.keep()).files, 1);
});

test('files that cannot be read as the task is now are an event with their mistake, once for each time that the task is told', async () => {
  const { says, was, refuses, errors, given } = await trained({ files: csv() });
  says(TASK);
  says(UNFIT);
  await was(2);
  refuses('bad-dataset', 'people.csv, line 1: the header has no "job"');
  await new Promise(setImmediate);
  assert.deepEqual(errors, [{ ...TOLD, message: 'people.csv, line 1: the header has no "job"' }]);
  says(UNFIT);
  assert.deepEqual(errors.at(-1), TOLD);
  assert.equal(given().length, 2);
  says(TASK);
  says(UNFIT);
  await was(3);
  assert.equal(errors.length, 2);
});

test('arrays that no longer fit are an event, and files that the page gives meanwhile go before', async () => {
  const { client, says, takes, errors, given } = await connect();
  const arrays = client.train({ features: Float32Array.of(1), labels: [0], shape: [1, 1] });
  takes();
  await arrays;
  says(TASK);
  says(UNFIT);
  assert.deepEqual(errors, [TOLD]);
  const first = client.train({ files: csv('a') });
  takes();
  await first;
  const second = client.train({ files: csv('b') });
  says(UNFIT);
  assert.equal(given().length, 3, 'those that are being read are read for the task as it is');
  takes();
  await second;
});
