/**
 * Picks and loads one of the two WebAssembly builds. Only the picked one is
 * ever downloaded: a visitor who trains on the CPU never pays for WebGPU.
 */
import { FedraError, wordsOf } from './errors.js';
import type { BackendChoice, ErrorEvent } from './events.js';
import type { ClientEvent, ModuleOptions } from './generated/contract.js';
import type { PolicyWatch } from './policy.js';
import type { Layout } from './validate.js';

/** The client inside the module. Its run ends after `close`. */
export interface EdgeClient {
  run(): Promise<void>;
  /** Settles when the task is known, and with it whether the data fit. */
  setDataset(features: Float32Array, labels: Float32Array, shape: Uint32Array, layout: Layout): Promise<void>;
  /** Gives up data that wait for the task. */
  withdrawDataset(): void;
  consent(): void;
  pause(): void;
  resume(): void;
  close(): void;
  predict(features: Float32Array): Promise<Float32Array>;
}

/** A model without a session. */
export interface Predictor {
  readonly inputShape: Uint32Array;
  readonly outputs: number;
  predict(features: Float32Array): Promise<Float32Array>;
}

/** Exports of a build. */
export interface WasmBuild {
  default(): Promise<unknown>;
  Predictor: new (file: Uint8Array) => Predictor;
  EdgeClient: new (
    options: ModuleOptions,
    onEvent: (event: ClientEvent) => void,
    /** Resolves once the count of rounds is stored: an update of a private round waits for it. */
    record: (participations: number) => Promise<void>,
    askToken?: () => Promise<string>,
  ) => EdgeClient;
}

/** A loaded build, and the backend to ask it for. */
export interface LoadedBuild {
  readonly module: WasmBuild;
  readonly backend: BackendChoice;
  readonly webgpu: boolean;
  /** The graphics adapter's name, if the browser tells one. */
  readonly adapter?: string | undefined;
  /** The reason against the other build, if the browser is it. */
  readonly reason?: string;
  /** An event for a page that did not get the backend it asked for. */
  readonly notice?: ErrorEvent;
}

/** Longest wait for an adapter, in milliseconds. With `auto`, training must not wait for it. */
const ADAPTER_MS = { auto: 1000, webgpu: 5000 } as const;

/** Loads the build that fits the choice and this browser. */
export async function loadBuild(choice: BackendChoice, policy: PolicyWatch): Promise<LoadedBuild> {
  if (choice === 'cpu') return { module: await loadCpu(policy), backend: 'cpu', webgpu: false };
  const found = await findAdapter(ADAPTER_MS[choice]);
  if (typeof found !== 'string') {
    const module = await load(() => import('../wasm/fedra_webgpu.js'), policy);
    return { module, backend: choice, webgpu: true, adapter: nameOf(found.info) };
  }
  const module = await loadCpu(policy);
  if (choice === 'auto') return { module, backend: 'cpu', webgpu: false, reason: found };
  const message = `WebGPU was asked for, but ${found}; training runs on the CPU`;
  const notice: ErrorEvent = { type: 'error', code: 'no-webgpu', message, fatal: false };
  return { module, backend: 'cpu', webgpu: false, reason: found, notice };
}

/** Loads the smaller build. */
export function loadCpu(policy: PolicyWatch): Promise<WasmBuild> {
  return load(() => import('../wasm/fedra_cpu.js'), policy);
}

/** The parts of a WebGPU adapter that matter here. */
interface Adapter {
  readonly info?: {
    readonly vendor: string;
    readonly architecture: string;
    readonly device: string;
    readonly description: string;
  };
}

/** The adapter, or the reason why there is none. A browser with a broken driver may never answer. */
async function findAdapter(limit: number): Promise<Adapter | string> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
  const none = 'this browser offers no WebGPU adapter';
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, limit, `this browser named no WebGPU adapter within ${limit / 1000} s`);
  });
  try {
    return (await Promise.race([gpu?.requestAdapter(), late])) ?? none;
  } catch {
    // A browser may refuse instead of answering null; both mean the CPU.
    return none;
  } finally {
    clearTimeout(timer);
  }
}

/** The adapter's name, from the parts that this browser tells. */
function nameOf(info: Adapter['info']): string | undefined {
  if (!info) return undefined;
  return info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(' ') || undefined;
}

async function load(importBuild: () => Promise<WasmBuild>, policy: PolicyWatch): Promise<WasmBuild> {
  try {
    const build = await importBuild();
    await build.default();
    return build;
  } catch (cause) {
    // A violation may be told after the error that it causes.
    await new Promise((resolve) => setTimeout(resolve));
    const message = `the WebAssembly module beside ${import.meta.url} could not be loaded: ${wordsOf(cause)}`;
    throw new FedraError('wasm-load-failed', policy.explain(message), { cause });
  }
}
