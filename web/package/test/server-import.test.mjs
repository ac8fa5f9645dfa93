import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

const entry = new URL('../dist/index.js', import.meta.url).href;

for (const [file, names] of [
  ['index', 'FedraClient FedraError'],
  ['element/index', 'FedraTrainer'],
  ['react', 'useFedra'],
])
  test(`importing ${file} on a server touches nothing of a browser`, () => {
    const imported = new URL(`../dist/${file}.js`, import.meta.url).href;
    const script = `
    for (const name of ['Worker', 'window', 'self', 'document', 'navigator', 'location', 'WebSocket', 'fetch', 'localStorage', 'crypto']) {
      Object.defineProperty(globalThis, name, {
        configurable: true,
        get() { throw new Error('touched ' + name); },
      });
    }
    const before = Reflect.ownKeys(globalThis).length;
    const fedra = await import(${JSON.stringify(imported)});
    if (Reflect.ownKeys(globalThis).length !== before) throw new Error('a global was added');
    console.log(Object.keys(fedra).sort().join(' '));
  `;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.equal(output.trim(), names);
  });

for (const call of ['connect', 'load']) {
  test(`${call} on a server is a typed error`, async () => {
    const { FedraClient, FedraError } = await import(entry);
    await assert.rejects(FedraClient[call]({ url: 'ws://localhost/v1/connect', task: 'mnist' }), (error) => {
      assert.ok(error instanceof FedraError);
      assert.equal(error.code, 'not-in-a-browser');
      assert.match(error.message, /fedra\/node/);
      return true;
    });
  });
}
