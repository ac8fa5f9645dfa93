// Types of the module that `cargo xtask dist` writes to ../wasm, so that they can be
// checked before it has run. Where the files exist, their own declarations are used.

declare module '*/fedra.js' {
  type Module = import('./module.js').WasmModule;
  export const EdgeClient: Module['EdgeClient'];
  export const Predictor: Module['Predictor'];
  const init: Module['default'];
  export default init;
}
