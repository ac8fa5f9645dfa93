// Refuses to publish a package without its two WebAssembly builds.
import { existsSync } from 'node:fs';

const needed = ['fedra_cpu.js', 'fedra_cpu_bg.wasm', 'fedra_webgpu.js', 'fedra_webgpu_bg.wasm'];
const missing = needed.filter((name) => !existsSync(new URL(`../wasm/${name}`, import.meta.url)));
if (missing.length > 0) {
  console.error(`missing in wasm/: ${missing.join(', ')}; build them with \`cargo xtask dist\``);
  process.exit(1);
}
