// Files of the WebAssembly modules in wasm/, and their hashes.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';

export const folder = new URL('../wasm/', import.meta.url);

/** Files that `cargo xtask dist` puts there. */
export const names = ['fedra', 'fedra-reader'].flatMap((name) => [`${name}.js`, `${name}.d.ts`, `${name}_bg.wasm`]);

/** Names of files that are not there. */
export function missing() {
  return names.filter((name) => !existsSync(new URL(name, folder)));
}

/** Name, size and hashes of each file. */
export function manifest() {
  const described = (name) => {
    const bytes = readFileSync(new URL(name, folder));
    const digest = createHash('sha256').update(bytes).digest();
    return { name, bytes: bytes.length, sha256: digest.toString('hex'), integrity: `sha256-${digest.toString('base64')}` };
  };
  return { files: names.map(described) };
}
