/**
 * Picks and loads one of the two WebAssembly builds. Only the picked one is
 * ever downloaded: a visitor who trains on the CPU never pays for WebGPU.
 */
import { FedraError } from './errors.js';
import type { BackendChoice, ClientEvent, ErrorEvent } from './events.js';
import type { ClientConfig } from './messages.js';

/** The client inside the module. Its run ends after `close`. */
export interface EdgeClient {
  run(): Promise<void>;
  setDataset(features: Float32Array, labels: Float32Array, shape: Uint32Array): void;
  consent(): void;
  pause(): void;
  resume(): void;
  close(): void;
  predict(features: Float32Array): Promise<Float32Array>;
}

interface WasmBuild {
  default(): Promise<unknown>;
  EdgeClient: new (
    config: Omit<ClientConfig, 'token'>,
    onEvent: (event: ClientEvent) => void,
    askToken?: () => Promise<string>,
  ) => EdgeClient;
}

/** A loaded build, and what it should be asked for. */
export interface LoadedBuild {
  readonly EdgeClient: WasmBuild['EdgeClient'];
  readonly backend: BackendChoice;
  readonly webgpu: boolean;
  /** What the browser tells of the graphics adapter, if anything. */
  readonly adapter?: string | undefined;
  /** Why it is not the other build, where the browser is the reason. */
  readonly reason?: string;
  /** To be told to the page: it did not get what it asked for. */
  readonly notice?: ErrorEvent;
}

/** Loads the build that fits the choice and this browser. */
export async function loadBuild(choice: BackendChoice): Promise<LoadedBuild> {
  const adapter = choice === 'cpu' ? undefined : await findAdapter();
  if (adapter) {
    const EdgeClient = await load(() => import('../wasm/fedra_webgpu.js'));
    return { EdgeClient, backend: choice, webgpu: true, adapter: nameOf(adapter.info) };
  }
  const EdgeClient = await load(() => import('../wasm/fedra_cpu.js'));
  if (choice === 'cpu') return { EdgeClient, backend: 'cpu', webgpu: false };
  const reason = 'this browser offers no WebGPU adapter';
  if (choice === 'auto') return { EdgeClient, backend: 'cpu', webgpu: false, reason };
  const message = `WebGPU was asked for, but ${reason}; training runs on the CPU`;
  const notice: ErrorEvent = { type: 'error', code: 'no-webgpu', message, fatal: false };
  return { EdgeClient, backend: 'cpu', webgpu: false, reason, notice };
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

async function findAdapter(): Promise<Adapter | undefined> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
  try {
    return (await gpu?.requestAdapter()) ?? undefined;
  } catch {
    // A browser may refuse instead of answering null; both mean the CPU.
    return undefined;
  }
}

/** Browsers leave out most of it, each another part. */
function nameOf(info: Adapter['info']): string | undefined {
  if (!info) return undefined;
  return info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(' ') || undefined;
}

async function load(importBuild: () => Promise<WasmBuild>): Promise<WasmBuild['EdgeClient']> {
  try {
    const build = await importBuild();
    await build.default();
    return build.EdgeClient;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FedraError('wasm-load-failed', `the WebAssembly module could not be loaded: ${reason}`, { cause });
  }
}
