// Types of the modules that `cargo xtask dist` writes to ../wasm, so that they can be
// checked before it has run. Where the files exist, their own declarations are used.

declare module '*/fedra.js' {
  type Module = import('./module.js').WasmModule;
  export const EdgeClient: Module['EdgeClient'];
  export const Predictor: Module['Predictor'];
  const init: Module['default'];
  export default init;
}

declare module '*/fedra-reader.js' {
  type Module = import('./module.js').ReaderModule;
  export const DataReader: Module['DataReader'];
  export const __wbg_reset_state: Module['__wbg_reset_state'];
  const init: Module['default'];
  export default init;
}

declare module '*/manifest.js' {
  const manifest: { readonly files: readonly { readonly name: string; readonly sha256: string }[] };
  export default manifest;
}
