// Writes wasm/manifest.json and the same as a module, wasm/manifest.js: name, size and hashes of
// each file of the WebAssembly modules. `cargo xtask dist` runs it once they are in place.
import { writeFileSync } from 'node:fs';
import { folder, manifest } from './wasm-files.mjs';

const text = JSON.stringify(manifest(), null, 2);
const write = (name, contents) => writeFileSync(new URL(name, folder), contents);
write('manifest.json', `${text}\n`);
write('manifest.js', `export default ${text};\n`);
write(
  'manifest.d.ts',
  `/** Files of the WebAssembly modules. \`sha256\` has hexadecimal digits, \`integrity\` is the value of an attribute of that name. */
declare const manifest: {
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string; readonly integrity: string }[];
};
export default manifest;
`,
);
