// Models of text: a document for each client, one of them in a tab, and a held-out
// document on the server.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Scene, setUp } from './harness/scene.mjs';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz .,\n';
const LAYERS = ['{ type = "embedding", width = 16 }', '{ type = "gru", units = 64 }', `{ type = "linear", outputs = ${ALPHABET.length} }`];
/** The tab and native clients, each with a document of its own. */
const NATIVE = 19;
const COHORT = NATIVE + 1;

const MODELS = [
  {
    name: 'a GRU of characters',
    model: `{ input = [32], elements = "token_ids", vocabulary = ${ALPHABET.length}, layers = [${LAYERS}], loss = "softmax_cross_entropy" }`,
    data: `[task.data]\nkind = "text"\ncontext = 32\nalphabet = ${JSON.stringify(ALPHABET)}\n`,
    learningRate: 0.5,
    momentum: 0.9,
    epochs: 2,
    rounds: 10,
    context: 32,
    characters: 1300,
    vocabulary: ALPHABET.length,
    /** Largest share of the first loss that is left at the end. */
    left: 0.8,
  },
  {
    name: 'gpt-nano',
    model: 'gpt-nano',
    data: '[task.data]\nkind = "text"\ncontext = 64\n',
    learningRate: 0.05,
    momentum: 0.9,
    epochs: 3,
    rounds: 6,
    context: 64,
    characters: 700,
    vocabulary: 256,
    left: 0.8,
  },
];

/** A text of sentences that are all alike; documents differ in their words. */
function writing(seed, characters) {
  let state = seed;
  const below = (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const one = (words) => words[below(words.length)];
  const nouns = ['house', 'river', 'garden', 'mountain', 'teacher', 'neighbour', 'window', 'letter'];
  // Each writer has favourites.
  const own = [...nouns, ...Array(8).fill(one(nouns))];
  const adjectives = ['old', 'small', 'green', 'quiet', 'open'];
  const verbs = ['sees', 'finds', 'remembers', 'follows', 'leaves'];
  const thing = () => `the ${one(adjectives)} ${one(own)}`;
  let text = '';
  while (text.length < characters) text += `${thing()} ${one(verbs)} ${thing()}, and ${thing()} waits.\n`;
  return text.slice(0, characters);
}

for (const { name, context: tokens, characters, vocabulary, left, ...task } of MODELS) {
  describe(name, { concurrency: false }, () => {
    const scene = new Scene();
    const file = (document) => join(scene.folder, `${document}.txt`);
    let set;

    before(async () => {
      writeFileSync(file('held-out'), writing(1, 2000));
      const evaluation = `[task.evaluation]\ndata = ${JSON.stringify(file('held-out'))}\n`;
      set = await setUp({ id: 'text', ...task, evaluation, minimumCohort: COHORT, cohort: COHORT, minimumReports: COHORT }, scene);
    });

    after(() => set?.end());

    test('a document with a mistake is refused with its place', async () => {
      const failure = await set.page.evaluate(async (where) => {
        window.client = await window.fedra.FedraClient.connect({ ...where, backend: 'cpu' });
        window.rounds = [];
        window.client.addEventListener('update', ({ detail }) => detail.outcome === 'accepted' && window.rounds.push(detail.round));
        return window.failure(window.client.train({ files: new File(['one line\ntwo'], 'short.txt') }));
      }, set.place);
      assert.equal(failure?.code, 'bad-dataset');
      const problem = `short.txt: the text has 12 tokens, an example needs ${tokens + 1}; give a longer text`;
      assert.ok(failure.message.startsWith(problem), failure.message);
    });

    test('documents of twenty clients teach the model', { timeout: 180_000 }, async (context) => {
      for (let index = 0; index < NATIVE; index++) {
        writeFileSync(file(index), writing(10 + index, characters));
        scene.startNativeClients({ data: file(index), more: ['--backend', 'cpu'] });
      }
      await set.page.evaluate((text) => window.client.train({ files: new File([text], 'mine.txt') }), writing(5, characters));
      const { latest, headline, history } = await set.aggregator.reaches(
        'the last round is evaluated',
        (state) => state.latest?.round === task.rounds,
        180,
      );
      context.diagnostic(`bits a token by round: ${history.map(({ bits_per_token: bits }) => bits?.toFixed(2)).join(', ')}`);
      assert.deepEqual(
        history.map(({ round, reports }) => [round, reports]),
        Array.from({ length: task.rounds }, (_, index) => [index + 1, COHORT]),
      );
      assert.equal(headline, 'bits_per_token');
      assert.ok(Math.abs(latest.bits_per_token - latest.loss / Math.LN2) < 1e-6);
      assert.ok(latest.bits_per_token < left * Math.log2(vocabulary), `${latest.bits_per_token} bits a token`);
      const [first, last] = [history[0], history.at(-1)];
      assert.equal(last.bits_per_token, latest.bits_per_token);
      assert.ok(last.loss < first.loss, `${first.loss}, then ${last.loss}`);
      const accepted = await set.page.evaluate(() => window.rounds);
      assert.deepEqual(
        accepted,
        history.map(({ round }) => round),
        'the tab was in every round',
      );
    });

    test('a text that is read can be predicted from, by the tab that trained', async () => {
      const { shape, rows } = await set.page.evaluate(
        async ([text, outputs]) => {
          const read = await window.client.read({ files: new File([text], 'mine.txt') }, { maxExamples: 2 });
          const probabilities = await window.client.predict(read.features);
          const sums = Array.from({ length: probabilities.length / outputs }, (_, row) =>
            probabilities.subarray(row * outputs, (row + 1) * outputs).reduce((sum, value) => sum + value, 0),
          );
          return { shape: [...read.shape], rows: sums };
        },
        [writing(5, characters), vocabulary],
      );
      assert.deepEqual(shape, [2, tokens]);
      assert.equal(rows.length, 2 * tokens, 'probabilities of each next token');
      for (const sum of rows) assert.ok(Math.abs(sum - 1) < 1e-4, `${sum}`);
    });
  });
}
