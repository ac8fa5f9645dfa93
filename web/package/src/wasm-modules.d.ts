// Types of the modules that `cargo xtask dist` writes to ../wasm, so that they can be
// checked before it has run. Where the files exist, their own declarations are used.

declare module '*/fedra_cpu.js' {
  type Build = import('./build.js').WasmBuild;
  export const EdgeClient: Build['EdgeClient'];
  export const Predictor: Build['Predictor'];
  const init: Build['default'];
  export default init;
}

declare module '*/fedra_webgpu.js' {
  export { default, EdgeClient, Predictor } from '*/fedra_cpu.js';
}
