/** The page's query parameters, checked. Reads nothing but its arguments. */
import type { BackendChoice } from 'fedra';

export interface PageOptions {
  /** The aggregator's WebSocket. */
  readonly url: string;
  /** The base address of its HTTP interface, without a trailing slash. */
  readonly api: string;
  /** The task's id; without one, the aggregator's first task. */
  readonly task: string | undefined;
  readonly backend: BackendChoice;
  /** The shard's number; without one, a shard is drawn by chance. */
  readonly shard: number | undefined;
  /** Limit on the examples of the shard. */
  readonly examples: number | undefined;
  /** True to start without a click. */
  readonly autostart: boolean;
}

export class OptionsError extends Error {}

const BACKENDS: readonly string[] = ['auto', 'webgpu', 'cpu'];

/** Parses `?task=&backend=&shard=&examples=&start=1&url=` of a page address. */
export function parseOptions(address: string): PageOptions {
  const page = new URL(address);
  const query = page.searchParams;
  const url = socketUrl(query.get('url'), page);
  const backend = query.get('backend') ?? 'auto';
  if (!BACKENDS.includes(backend)) {
    throw new OptionsError(`backend=${backend}: it must be auto, webgpu or cpu.`);
  }
  return {
    url,
    api: apiOf(url),
    task: query.get('task') ?? undefined,
    backend: backend as BackendChoice,
    shard: wholeNumber(query, 'shard', 0),
    examples: wholeNumber(query, 'examples', 1),
    autostart: query.get('start') === '1',
  };
}

function socketUrl(given: string | null, page: URL): string {
  let url: URL;
  try {
    // Beside the page, which a proxy may have put below a prefix.
    url = new URL(given ?? './v1/connect', page);
  } catch {
    throw new OptionsError(`url=${given}: it must be an address such as ws://127.0.0.1:8080/v1/connect.`);
  }
  if (url.protocol === 'http:') url.protocol = 'ws:';
  if (url.protocol === 'https:') url.protocol = 'wss:';
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') {
    throw new OptionsError(`url=${given}: it must begin with ws: or wss:.`);
  }
  return url.href;
}

/** The base address of the HTTP interface, which lies beside the WebSocket. */
function apiOf(socket: string): string {
  const url = new URL(socket);
  url.protocol = url.protocol === 'wss:' ? 'https:' : 'http:';
  return url.origin + url.pathname.replace(/\/v1\/connect\/?$/, '').replace(/\/$/, '');
}

function wholeNumber(query: URLSearchParams, name: string, least: number): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
    throw new OptionsError(`${name}=${text}: it must be a whole number, ${least} or more.`);
  }
  return value;
}
