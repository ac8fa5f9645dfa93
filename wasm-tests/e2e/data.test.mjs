// Tables and arrays from a visitor's files: read in the worker of a real tab, and
// prepared as the native clients and the server prepare their own.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { zip } from '../../web/package/test/zip.mjs';
import { Scene, setUp } from './harness/scene.mjs';

const TABLE = `[task.data]
kind = "table"
target = "income"
columns = [
  { name = "age", type = "number", mean = 40, deviation = 10 },
  { name = "hours", type = "number", min = 0, max = 80, fill = 40, flag_missing = true },
  { name = "job", type = "category", values = ["nurse", "clerk"], other = true },
  { name = "income", type = "category", values = ["low", "high"] },
]
`;
const ARRAYS = `
[[task]]
id = "series"
model = { input = [3], layers = [{ type = "linear", outputs = 2 }], loss = "softmax_cross_entropy" }
round = { cohort_size = 1 }
data = { kind = "array", shape = [3], dtype = "float32", min = 0, max = 2 }
`;
/** The tab and a native client. */
const COHORT = 2;

const people = (folder) => ({
  id: 'people',
  model: '{ input = [6], layers = [{ type = "linear", outputs = 2 }], loss = "softmax_cross_entropy" }',
  learningRate: 0.5,
  minimumCohort: COHORT,
  cohort: COHORT,
  data: TABLE,
  evaluation: `[task.evaluation]\ndata = ${JSON.stringify(join(folder, 'held-out.csv'))}\ndecimal = ","\n`,
  more: ARRAYS,
});

const BYTE_ORDER_MARK = '\ufeff';
/** Three people, one of them with the worst that a table program writes. */
const VISITORS = `${BYTE_ORDER_MARK}age;hours;job;note;income\r
30;40;nurse;"one; two\r
and ""three""";low\r
50;?;baker;;high\r
45;80;"clerk";x;high\r
`;
const NAMES = ['age', 'hours', 'hours (missing)', 'job = nurse', 'job = clerk', 'job (other)'];
const PREPARED = [
  [-1, 0.5, 0, 1, 0, 0],
  [1, 0.5, 1, 0, 0, 1],
  [0.5, 1, 0, 0, 1, 0],
].flat();

/** Rows of people from 20 to 60, of whom those over 40 earn much. */
function rows(count, row) {
  const jobs = ['nurse', 'clerk', 'baker'];
  const of = (index) => ({ age: 20.5 + ((index * 17) % 40), hours: (index * 7) % 80, job: jobs[index % 3] });
  return Array.from({ length: count }, (_, index) => of(index))
    .map((person) => row({ ...person, income: person.age > 40 ? 'high' : 'low' }))
    .join('\n');
}

describe('a table', { concurrency: false }, () => {
  const scene = new Scene();
  let set;
  let page;

  before(async () => {
    const heldOut = rows(200, ({ age, hours, job, income }) => `${job};${income};"${String(age).replace('.', ',')}";${hours}`);
    writeFileSync(join(scene.folder, 'held-out.csv'), `job;income;age;hours\n${heldOut}\n`);
    const native = rows(60, ({ age, hours, job, income }) => `${income},${hours},${age},"a, b",${job}`);
    writeFileSync(join(scene.folder, 'native.csv'), `income,hours,age,note,job\n${native}\n`);
    set = await setUp(people(scene.folder), scene);
    ({ page } = set);
    await page.evaluate(async (where) => {
      window.client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
      /** Values and labels that the model sees of a file. */
      window.prepared = async (file, options) => {
        const { features, labels, shape, names } = await window.client.read({ files: file }, options);
        return { features: [...features], labels: [...labels], shape: [...shape], names };
      };
      window.gzipped = (text) => new Response(new Blob([text]).stream().pipeThrough(new CompressionStream('gzip'))).blob();
      /**
       * Two hundred thousand rows, 1 kB each, in eight parts whose people differ in age.
       * In memory they are as many pieces of a thousand rows.
       */
      window.large = () => {
        const row = (age) => `${age};40;nurse;low;${'x'.repeat(1000)}\n`;
        const parts = Array.from({ length: 8 }, (_, age) => new Blob([row(age).repeat(1000)]));
        return new File(['age;hours;job;income;note\n', ...parts.flatMap((part) => Array(25).fill(part))], 'large.csv');
      };
    }, set.place);
  });

  after(() => set?.end());

  test('a file of a visitor becomes what the task describes', async () => {
    const seen = await page.evaluate((text) => window.prepared(new File([text], 'people.csv')), VISITORS);
    assert.deepEqual(seen, { features: PREPARED, labels: [0, 1, 1], shape: [3, 6], names: NAMES });
  });

  test('a gzipped file with a name in any script is the same', async () => {
    const seen = await page.evaluate(
      async (text) => window.prepared(new File([await window.gzipped(text)], 'größe – 人口.csv.gz')),
      VISITORS,
    );
    assert.deepEqual(seen.features, PREPARED);
  });

  test('decimal commas are read where that is said', async () => {
    const seen = await page.evaluate(
      (text) => window.prepared(new File([text], 'people.csv'), { decimal: ',', delimiter: ';' }),
      'age;hours;job;income\n"42,5";8;nurse;low\n',
    );
    assert.deepEqual(seen.features, [0.25, 0.10000000149011612, 0, 1, 0, 0]);
  });

  test('a tab and a native client train on files of their own, and the server evaluates on its own', async () => {
    scene.startNativeClients({ data: join(scene.folder, 'native.csv'), more: ['--backend', 'cpu'] });
    const mine = rows(40, ({ age, hours, job, income }) => `${job}\t${age}\t${hours}\t${income}`);
    const { readings, outcome } = await page.evaluate(async (text) => {
      const given = [];
      const file = new File([text], 'people.tsv');
      await window.client.train({ files: file }, { onReading: (reading) => given.push(reading) });
      const update = await window.sees(window.client, 'update');
      return { readings: given, outcome: update.outcome };
    }, `job\tage\thours\tincome\n${mine}\n`);
    assert.equal(outcome, 'accepted');
    assert.deepEqual([readings[0].bytes, readings[0].examples], [0, 0]);
    const { bytes, total, examples } = readings.at(-1);
    assert.deepEqual([bytes, examples], [total, 40]);
    const learned = ({ latest }) => latest?.accuracy > 0.9;
    const { headline, history } = await set.aggregator.reaches('more than 90 % are told apart', learned);
    assert.equal(headline, 'accuracy');
    assert.equal(history[0].reports, COHORT);
  });

  const mistakes = [
    [
      'a missing column',
      'age;hour;job;income\n30;40;nurse;low\n',
      /^people\.csv, line 1: the header has no "hours"; it has "age", "hour", "job", "income"\. Rename "hour" to "hours"/,
    ],
    [
      'a category that the task does not know',
      'age;hours;job;income\n30;40;nurse;low\n30;40;nurse;nigh\n',
      /^people\.csv, line 3, column "income": "nigh" is not a category; the task knows "low", "high"\. Is it "high"\?/,
    ],
    [
      'a number that is none, behind a field with a line break',
      'note;age;hours;job;income\n"a\nb";30;40;nurse;low\n;thirty;40;nurse;low\n',
      /^people\.csv, line 4, column "age": "thirty" is not a number/,
    ],
    [
      'a decimal comma that was not said',
      'age;hours;job;income\n"42,5";8;nurse;low\n',
      /^people\.csv, line 2, column "age": "42,5" is not a number; if the comma is a decimal comma, say so: decimal = ","/,
    ],
    [
      'a value that is missing where none may be',
      'age;hours;job;income\nNA;40;nurse;low\n',
      /^people\.csv, line 2, column "age": the value is missing; fill it in, or leave the row out/,
    ],
    [
      'a row with too few fields',
      'age;hours;job;income\n30;40;nurse\n',
      /^people\.csv, line 2: the row has 3 fields, the header has 4; fill the row up/,
    ],
    ['an empty file', '', /^people\.csv: the file is empty/],
  ];
  for (const [mistake, text, message] of mistakes) {
    test(`${mistake}: the place and the remedy are told, and the data before are trained on`, async () => {
      const { failure, next, event } = await page.evaluate(async (csv) => {
        const { round } = window.client.latest('update');
        const refused = await window.failure(window.client.train({ files: new File([csv], 'people.csv') }));
        const update = await window.sees(window.client, 'update', (newer) => newer.round > round);
        return { failure: refused, next: update.outcome, event: window.client.latest('error') };
      }, text);
      assert.equal(failure?.code, 'bad-dataset');
      assert.match(failure.message, message);
      assert.equal(next, 'accepted');
      assert.equal(event, undefined, 'the call was told, so there is no event');
    });
  }

  test('a signal ends the reading of a large file, and the data before are trained on', async () => {
    const seen = await page.evaluate(async () => {
      const [controller, readings, file] = [new AbortController(), [], window.large()];
      const onReading = (reading) => {
        readings.push(reading);
        if (reading.bytes > 0) controller.abort();
      };
      const failure = await window.failure(window.client.train({ files: file }, { signal: controller.signal, onReading }));
      const { round } = window.client.latest('update');
      const { outcome } = await window.sees(window.client, 'update', (update) => update.round > round);
      return { code: failure?.code, bytes: readings.at(-1).bytes, total: file.size, outcome };
    });
    assert.deepEqual([seen.code, seen.outcome], ['aborted', 'accepted']);
    assert.ok(seen.bytes < seen.total / 2, `${seen.bytes} of ${seen.total} bytes were read`);
  });

  test('of a large file a sample is kept, drawn from all of it', async (context) => {
    const { shape, counts, last, size, seconds } = await page.evaluate(async () => {
      const [readings, file, begin] = [[], window.large(), performance.now()];
      const options = { maxExamples: 400, seed: 7, onReading: (reading) => readings.push(reading) };
      const read = await window.prepared(file, options);
      const ages = read.features.filter((_, index) => index % 6 === 0).map((value) => Math.round(value * 10 + 40));
      const found = Array.from({ length: 8 }, (_, age) => ages.filter((other) => other === age).length);
      return { shape: read.shape, counts: found, last: readings.at(-1), size: file.size, seconds: (performance.now() - begin) / 1000 };
    });
    assert.deepEqual(shape, [400, 6]);
    assert.deepEqual(last, { bytes: size, total: size, examples: 200_000 });
    // Fifty of each part are expected, with a standard deviation of 6.6.
    for (const count of counts) assert.ok(count > 17 && count < 83, `${counts}`);
    context.diagnostic(`${(size / 1e6).toFixed(0)} MB in ${seconds.toFixed(1)} s`);
  });

  describe('arrays', { concurrency: false }, () => {
    before(async () => {
      await page.evaluate(async (where) => {
        await window.client.close();
        const worker = () => (window.worker = new Worker('/fedra/dist/worker.js', { type: 'module' }));
        window.client = await window.fedra.FedraClient.connect({ ...where, task: 'series', backend: 'cpu', worker });
      }, set.place);
    });

    const features = npy('<f4', [2, 3], new Float32Array([0, 1, 2, 2, 1, 0]));
    const labels = npy('<i8', [2], new BigInt64Array([0n, 1n]));
    /** Reads or gives files of these names and bytes. */
    const given = (call, files) =>
      page.evaluate(
        ([name, bytes]) => {
          const [data, other] = bytes.map(([file, numbers]) => new File([new Uint8Array(numbers)], file));
          const both = other ? { files: data, labels: other } : { files: data };
          if (name === 'train') return window.failure(window.client.train(both));
          return window.client.read(both).then((read) => [[...read.features], [...read.labels], [...read.shape]]);
        },
        [call, files.map(([name, bytes]) => [name, [...bytes]])],
      );
    const EXPECTED = [
      [0, 0.5, 1, 1, 0.5, 0],
      [0, 1],
      [2, 3],
    ];

    test('two files, or an archive of both', async () => {
      const two = [
        ['x.npy', features],
        ['y.npy', labels],
      ];
      assert.deepEqual(await given('read', two), EXPECTED);
      for (const method of [0, 8]) {
        const archive = zip({ 'labels.npy': labels, 'features.npy': features }, method);
        assert.deepEqual(await given('read', [['both.npz', archive]]), EXPECTED, `method ${method}`);
      }
    });

    test('numbers of another type are refused with the words that change them', async () => {
      const wide = npy('<f8', [2, 3], new Float64Array(6));
      const failure = await given('train', [
        ['x.npy', wide],
        ['y.npy', labels],
      ]);
      assert.equal(failure.code, 'bad-dataset');
      assert.match(failure.message, /^x\.npy: the numbers are float64, the task takes float32; save array\.astype\("float32"\)/);
    });

    test('an archive with one of the two arrays is refused with the names that it has', async () => {
      const failure = await given('train', [['one.npz', zip({ 'features.npy': features, 'other.npy': labels })]]);
      assert.equal(failure.code, 'bad-dataset');
      assert.match(failure.message, /^one\.npz: the archive needs the arrays features and labels, or x and y; it has features, other/);
    });

    test('an archive is trained on, and read again after a crash of the worker', async () => {
      const archive = zip({ 'y.npy': labels, 'x.npy': features });
      assert.equal(await given('train', [['both.npz', archive]]), undefined);
      const outcomes = await page.evaluate(async () => {
        const before = await window.sees(window.client, 'update');
        // The browser's report of a module that is out of memory.
        window.worker.dispatchEvent(new ErrorEvent('error', { message: 'Uncaught RuntimeError: memory access out of bounds' }));
        const { round } = window.client.latest('update');
        const next = await window.sees(window.client, 'update', (update) => update.round > round);
        return [before.outcome, window.client.latest('error').code, next.outcome];
      });
      assert.deepEqual(outcomes, ['accepted', 'worker-failed', 'accepted']);
    });
  });
});

/** An array as numpy.save writes it. */
function npy(descr, shape, values) {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }\n`;
  const start = Buffer.from('\x93NUMPY\x01\x00\0\0', 'latin1');
  start.writeUInt16LE(header.length, 8);
  return Buffer.concat([start, Buffer.from(header), Buffer.from(values.buffer)]);
}
