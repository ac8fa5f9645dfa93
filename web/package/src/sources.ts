/**
 * WebAssembly that a page gives in place of the package's own, and the hashes of what may run.
 * It must not fetch or run any.
 */
import { FedraError } from './errors.js';

/** A WebAssembly module: its address, its bytes, or the compiled module. */
export type WasmSource = string | URL | BufferSource | WebAssembly.Module;

/** The two modules. One that is left out is the package's own. */
export interface WasmSources {
  /** The client, `fedra_bg.wasm`. */
  readonly client?: WasmSource;
  /** The reader of files, `fedra-reader_bg.wasm`. */
  readonly reader?: WasmSource;
}

/** Hashes of the modules that may run. */
export type Pin =
  /** The hashes that the package was published with. */
  | boolean
  /** SHA-256 by name: 64 hexadecimal digits, or `sha256-` and base64. A module without a hash does not run. */
  | { readonly 'fedra_bg.wasm': string; readonly 'fedra-reader_bg.wasm'?: string };

/** A {@link WasmSource} on its way to the worker. */
export type CheckedSource = string | Uint8Array<ArrayBuffer> | WebAssembly.Module;

/** Sources and hashes as the worker gets them. */
export interface ModuleSources {
  readonly client?: CheckedSource;
  readonly reader?: CheckedSource;
  /** Hexadecimal digits by name, or the package's own. */
  readonly pin?: 'own' | Readonly<Record<string, string>>;
}

/** Names of the modules' files. */
export const FILES = { client: 'fedra_bg.wasm', reader: 'fedra-reader_bg.wasm' } as const;

const WASM = 'wasm must be an address, bytes or a WebAssembly.Module, or an object with client and reader';
const PIN = `pin must be true, or an object with the SHA-256 of ${FILES.client} and ${FILES.reader}`;

/** Checks the options `wasm` and `pin`. `page` is the page's address, which relative ones begin from. */
export function checkSources(wasm: unknown, pin: unknown, page: string | undefined): ModuleSources | undefined {
  const { client, reader } = checkWasm(wasm, page);
  const pinned = checkPin(pin);
  if (pinned && (isModule(client) || isModule(reader))) {
    throw new FedraError('invalid-options', 'pin needs the address or the bytes of the module in wasm: a compiled one has no hash');
  }
  const sources = { ...(client ? { client } : {}), ...(reader ? { reader } : {}), ...(pinned ? { pin: pinned } : {}) };
  return Object.keys(sources).length > 0 ? sources : undefined;
}

function checkWasm(wasm: unknown, page: string | undefined): Pick<ModuleSources, 'client' | 'reader'> {
  if (wasm === undefined) return {};
  if (!isSource(wasm)) {
    const unknown = isRecord(wasm) ? Object.keys(wasm).find((name) => !(name in FILES)) : undefined;
    if (!isRecord(wasm) || unknown !== undefined) throw new FedraError('invalid-options', WASM);
    const { client, reader } = wasm;
    return { ...named('client', client, page), ...named('reader', reader, page) };
  }
  return named('client', wasm, page);
}

function named(name: 'client' | 'reader', source: unknown, page: string | undefined): { readonly [N in typeof name]?: CheckedSource } {
  return source === undefined ? {} : { [name]: checkSource(source, page) };
}

function checkSource(source: unknown, page: string | undefined): CheckedSource {
  if (typeof source === 'string' || source instanceof URL) {
    try {
      return new URL(source, page).href;
    } catch (cause) {
      throw new FedraError('invalid-options', WASM, { cause });
    }
  }
  // An own copy: the page may change its bytes, and a worker that takes another's place needs them again.
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength).slice();
  if (source instanceof ArrayBuffer) return new Uint8Array(source.slice(0));
  if (isModule(source)) return source;
  throw new FedraError('invalid-options', WASM);
}

function checkPin(pin: unknown): ModuleSources['pin'] {
  if (pin === undefined || pin === false) return undefined;
  if (pin === true) return 'own';
  if (!isRecord(pin)) throw new FedraError('invalid-options', PIN);
  const names: readonly string[] = Object.values(FILES);
  const unknown = Object.keys(pin).find((name) => !names.includes(name));
  if (unknown !== undefined) throw new FedraError('invalid-options', `pin has no ${unknown}; it may have ${names.join(' and ')}`);
  if (pin[FILES.client] === undefined) throw new FedraError('invalid-options', PIN);
  const given = Object.entries(pin).filter(([, hash]) => hash !== undefined);
  return Object.fromEntries(given.map(([name, hash]) => [name, checkHash(name, hash)]));
}

/** A SHA-256 as hexadecimal digits. */
function checkHash(name: string, hash: unknown): string {
  if (typeof hash === 'string') {
    if (/^[0-9a-f]{64}$/i.test(hash)) return hash.toLowerCase();
    const [, base64] = /^sha256-([A-Za-z0-9+/]{43}=)$/.exec(hash) ?? [];
    if (base64 !== undefined) {
      return Array.from(atob(base64), (character) => character.charCodeAt(0).toString(16).padStart(2, '0')).join('');
    }
  }
  throw new FedraError('invalid-options', `pin: the hash of ${name} must be 64 hexadecimal digits, or sha256- and base64`);
}

function isSource(value: unknown): boolean {
  return typeof value === 'string' || value instanceof URL || ArrayBuffer.isView(value) || value instanceof ArrayBuffer || isModule(value);
}

function isModule(value: unknown): value is WebAssembly.Module {
  return typeof WebAssembly !== 'undefined' && value instanceof WebAssembly.Module;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
