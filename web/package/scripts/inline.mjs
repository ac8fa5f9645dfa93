// Makes dist/inline.js: the package as one ES module, with the worker and the WebAssembly inside.
// Two files of the package say where these two lie; others stand in their place here.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';
import { missing, folder as ownFolder } from './wasm-files.mjs';

const dist = new URL('../dist/', import.meta.url);

/** The text of the module. `wasm` is the folder of the WebAssembly modules. */
export async function inline(wasm = ownFolder) {
  const packed = (name) => JSON.stringify(gzipSync(readFileSync(new URL(name, wasm)), { level: 9 }).toString('base64'));
  const worker = await bundle('worker.js', wasm, {
    'own-wasm.js': `
      const unpacked = (text) => {
        const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
        const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
        return new Response(stream).arrayBuffer().then((buffer) => new Uint8Array(buffer));
      };
      export const OWN = {
        client: () => unpacked(${packed('fedra_bg.wasm')}),
        reader: () => unpacked(${packed('fedra-reader_bg.wasm')}),
      };`,
  });
  return await bundle('index.js', wasm, {
    'own-worker.js': `
      let address;
      export const own = () => {
        address ??= URL.createObjectURL(new Blob([${JSON.stringify(worker)}], { type: 'text/javascript' }));
        return new Worker(address, { type: 'module' });
      };`,
  });
}

/** One module of `entry` in dist/ and of all that it imports, with other texts for the files named in `replaced`. */
async function bundle(entry, wasm, replaced) {
  const build = await rolldown({
    input: fileURLToPath(new URL(entry, dist)),
    logLevel: 'warn',
    plugins: [
      {
        name: 'fedra-inline',
        resolveId: (id) => (id.startsWith('../wasm/') ? fileURLToPath(new URL(id.slice('../wasm/'.length), wasm)) : null),
        load: (id) => replaced[basename(id)] ?? null,
      },
    ],
  });
  const { output } = await build.generate({ format: 'es', codeSplitting: false, minify: true, keepNames: true });
  await build.close();
  if (output.length !== 1) throw new Error(`${entry} became ${output.map(({ fileName }) => fileName).join(', ')}, not one module`);
  return output[0].code;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const absent = [...missing(), ...(existsSync(new URL('manifest.js', ownFolder)) ? [] : ['manifest.js'])];
  if (absent.length > 0) {
    console.warn(`dist/inline.js is not made: missing in wasm/: ${absent.join(', ')}; build the modules with \`cargo xtask dist\``);
  } else {
    writeFileSync(new URL('inline.js', dist), await inline());
    writeFileSync(new URL('inline.d.ts', dist), "export * from './index.js';\n");
  }
}
