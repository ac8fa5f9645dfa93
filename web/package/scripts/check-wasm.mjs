// Refuses to publish a package without its WebAssembly modules.
import { existsSync } from 'node:fs';

const needed = ['fedra', 'fedra-reader'].flatMap((name) => [`${name}.js`, `${name}.d.ts`, `${name}_bg.wasm`]);
const missing = needed.filter((name) => !existsSync(new URL(`../wasm/${name}`, import.meta.url)));
if (missing.length > 0) {
  console.error(`missing in wasm/: ${missing.join(', ')}; build the modules with \`cargo xtask dist\``);
  process.exit(1);
}
