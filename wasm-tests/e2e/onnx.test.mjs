// Exported models in ONNX Runtime, compared with what Fedra computes. Needs no browser.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { onnxRuntime, program } from './harness/paths.mjs';
import { newFolder, removeFolder } from './harness/programs.mjs';

/** Largest difference between two outputs for the same input. */
const TOLERANCE = 1e-5;
/** Sizes of batches, of which the model's file fixes none. */
const batchesOf = (examples) => [1, examples / 4 - 1, examples / 4, examples / 4, examples / 4];

const folder = newFolder();
const models = JSON.parse(execFileSync(program('examples/onnx-samples'), [folder], { encoding: 'utf8' }));
const ort = onnxRuntime();
// The threads of the runtime are workers of a browser.
ort.env.wasm.numThreads = 1;

after(() => removeFolder(folder));

/** The bytes of one of a model's files, in memory of their own. */
function bytesOf(name, kind) {
  const bytes = readFileSync(join(folder, `${name}.${kind}`));
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}

test('every built-in model is tried', () => {
  const names = models.map(({ name }) => name);
  for (const name of [
    'softmax-regression',
    'mnist-oriented-gradients',
    'mnist-scattering',
    'mnist-2nn',
    'mnist-cnn',
    'lenet',
    'cifar-resnet14',
    'char-gru',
    'shakespeare-lstm',
    'gpt-nano',
    'gpt-micro',
  ])
    assert.ok(names.includes(name), name);
});

for (const { name, kind, examples, shape } of models) {
  describe(name, { concurrency: false }, () => {
    let session;
    before(async () => (session = await ort.InferenceSession.create(new Uint8Array(bytesOf(name, 'onnx')))));
    after(() => session.release());

    test(`${name} computes the outputs of Fedra for ${examples} inputs`, async (context) => {
      const inputs = new (kind === 'int64' ? BigInt64Array : Float32Array)(bytesOf(name, 'inputs'));
      const expected = new Float32Array(bytesOf(name, 'outputs'));
      const length = shape.reduce((product, size) => product * size, 1);
      const width = expected.length / examples;
      let [done, largest] = [0, 0];
      for (const batch of batchesOf(examples)) {
        const values = inputs.subarray(done * length, (done + batch) * length);
        const input = new ort.Tensor(kind, values, [batch, ...shape]);
        const outputs = await session.run({ [session.inputNames[0]]: input });
        const { data, dims } = outputs[session.outputNames[0]];
        assert.deepEqual([dims[0], data.length], [batch, batch * width]);
        data.forEach((value, index) => {
          const difference = Math.abs(value - expected[done * width + index]);
          assert.ok(difference <= TOLERANCE, `example ${done + Math.floor(index / width)}: ${difference}`);
          largest = Math.max(largest, difference);
        });
        done += batch;
      }
      assert.equal(done, examples);
      context.diagnostic(`largest difference ${largest.toExponential(1)}`);
    });
  });
}
