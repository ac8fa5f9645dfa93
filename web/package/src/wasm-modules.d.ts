// Types of the modules that `cargo xtask dist` writes to ../wasm, so that they can be
// checked before it has run. Where the files exist, their own declarations are used.

declare module '*/fedra_cpu.js' {
  export class EdgeClient {
    constructor(config: object, onEvent: (event: never) => void);
    run(): Promise<void>;
    setDataset(features: Float32Array, labels: Float32Array, shape: Uint32Array, layout: string): Promise<void>;
    withdrawDataset(): void;
    consent(): void;
    pause(): void;
    resume(): void;
    close(): void;
    predict(features: Float32Array): Promise<Float32Array>;
  }
  export class Predictor {
    constructor(file: Uint8Array);
    readonly inputShape: Uint32Array;
    readonly outputs: number;
    predict(features: Float32Array): Promise<Float32Array>;
  }
  export default function init(): Promise<unknown>;
}

declare module '*/fedra_webgpu.js' {
  export { default, EdgeClient, Predictor } from '*/fedra_cpu.js';
}
