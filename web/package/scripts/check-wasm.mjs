// Refuses to publish a package without its WebAssembly modules, or with the manifest of others.
import { existsSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { folder, manifest, missing } from './wasm-files.mjs';

const fail = (problem) => {
  console.error(`${problem}; build the modules with \`cargo xtask dist\``);
  process.exit(1);
};
const absent = missing();
if (absent.length > 0) fail(`missing in wasm/: ${absent.join(', ')}`);
const written = new URL('manifest.json', folder);
if (!existsSync(written)) fail('missing in wasm/: manifest.json');
if (!isDeepStrictEqual(JSON.parse(readFileSync(written, 'utf8')), manifest())) fail('wasm/manifest.json is that of other files');
if (!existsSync(new URL('../dist/inline.js', import.meta.url))) fail('missing in dist/: inline.js');
