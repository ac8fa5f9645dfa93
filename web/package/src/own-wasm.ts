/** The package's own WebAssembly. A bundler finds the files by these lines, and rewrites their addresses. */
export const OWN: { readonly [Name in 'client' | 'reader']: () => URL | Promise<Uint8Array<ArrayBuffer>> } = {
  client: () => new URL('../wasm/fedra_bg.wasm', import.meta.url),
  reader: () => new URL('../wasm/fedra-reader_bg.wasm', import.meta.url),
};
