// Documentation of every public name, as editors show it.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const dist = new URL('../dist/', import.meta.url);
const declarations = ['', 'generated/']
  .flatMap((folder) => readdirSync(new URL(folder, dist)).map((name) => folder + name))
  .filter((name) => name.endsWith('.d.ts') && name !== 'wasm-module.d.ts')
  .map((name) => readFileSync(new URL(name, dist), 'utf8'));

const names = [...readFileSync(new URL('index.d.ts', dist), 'utf8').matchAll(/export (?:type )?\{([^}]*)\}/g)]
  .flatMap(([, list]) => list.split(','))
  .map((name) => name.trim())
  .filter(Boolean);

/** Lines of a declaration that no comment stands before. */
function undocumented(name) {
  for (const text of declarations) {
    const lines = text.split('\n');
    const start = lines.findIndex((line) => new RegExp(`^export (declare )?(interface|class|type) ${name}\\b`).test(line));
    if (start < 0) continue;
    const bare = (index) => !lines[index - 1]?.trimEnd().endsWith('*/');
    const end = lines.findIndex((line, index) => index >= start && /^\}|;$/.test(line) && !line.startsWith(' '));
    const members = lines
      .map((line, index) => [line, index])
      .slice(start + 1, end)
      // The names of events, those of the platform, and what is private.
      .filter(
        ([line]) =>
          /^ {4}(readonly |static )?[a-z]\w*[?(<:]/i.test(line) &&
          !/^ {4}(addEventListener|removeEventListener|constructor|private|readonly type:)/.test(line),
      );
    return [[lines[start], start], ...members].filter(([, index]) => bare(index)).map(([line]) => `${name}: ${line.trim()}`);
  }
  return [`${name}: no declaration`];
}

test('every name that the package exports is documented, and so is each of its members', () => {
  assert.ok(names.length > 60, `${names.length} names`);
  assert.deepEqual(names.flatMap(undocumented), []);
});
