// Builds the pages into dist/. In development, requests for /v1 go to an
// aggregator on this machine.
import { existsSync } from 'node:fs';
import { defineConfig } from 'vite';
import { pages } from './pages.js';

const hasModules = () => ['fedra', 'fedra-reader'].every((name) => existsSync(new URL(`../package/wasm/${name}.js`, import.meta.url)));

// Names that change with the content, in digits that cannot be taken for a word: the
// aggregator lets them be cached for ever (aggregator/src/http/page/kind.rs).
const output = {
  hashCharacters: 'hex',
  entryFileNames: 'assets/[name]-[hash:16].js',
  chunkFileNames: 'assets/[name]-[hash:16].js',
  assetFileNames: 'assets/[name]-[hash:16][extname]',
};

export default defineConfig({
  base: './',
  build: { target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 800, rolldownOptions: { input: pages, output } },
  worker: { format: 'es', rolldownOptions: { output } },
  optimizeDeps: { exclude: ['fedra'] },
  server: { proxy: { '/v1': { target: 'http://127.0.0.1:8080', ws: true } } },
  plugins: [
    {
      name: 'fedra-needs-wasm',
      buildStart() {
        if (!hasModules()) this.error('web/package/wasm does not have both modules: build them with `cargo xtask dist`');
      },
    },
  ],
});
