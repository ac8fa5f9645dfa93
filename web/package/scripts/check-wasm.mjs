// Refuses to publish a package without its WebAssembly module.
import { existsSync } from 'node:fs';

const needed = ['fedra.js', 'fedra.d.ts', 'fedra_bg.wasm'];
const missing = needed.filter((name) => !existsSync(new URL(`../wasm/${name}`, import.meta.url)));
if (missing.length > 0) {
  console.error(`missing in wasm/: ${missing.join(', ')}; build the module with \`cargo xtask dist\``);
  process.exit(1);
}
