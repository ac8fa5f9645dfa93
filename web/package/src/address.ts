/**
 * The addresses of an aggregator, from the one that a page gives: `https://host`,
 * `wss://host/v1/connect`, or a form in between. It must not connect.
 */
import { FedraError } from './errors.js';

/** The addresses of an aggregator. */
export interface Address {
  /** Its WebSocket, always with its path: one aggregator has one name here. */
  readonly socket: string;
  /** The HTTP folder beside the socket, with a slash at its end. Models' addresses are relative to it. */
  readonly http: string;
}

const EXAMPLE = 'url must be the address of an aggregator, for example wss://example.org/v1/connect or https://example.org';
const SOCKET = '/v1/connect';

/** Checks the option `url`. `page` is the page's address, which a relative `url` begins from. */
export function checkAddress(url: unknown, page: string | undefined): Address {
  if (typeof url !== 'string' && !(url instanceof URL)) throw new FedraError('invalid-options', EXAMPLE);
  let socket: URL;
  try {
    socket = new URL(url, page);
  } catch (cause) {
    throw new FedraError('invalid-options', EXAMPLE, { cause });
  }
  if (socket.protocol === 'http:') socket.protocol = 'ws:';
  if (socket.protocol === 'https:') socket.protocol = 'wss:';
  if (socket.protocol !== 'ws:' && socket.protocol !== 'wss:') {
    throw new FedraError('invalid-options', `${EXAMPLE}; ${socket.protocol} is not a WebSocket address`);
  }
  if (socket.username || socket.password) {
    throw new FedraError(
      'invalid-options',
      'url must not hold a user name or password; a task that is not open takes a token, see the option token',
    );
  }
  socket.hash = '';
  socket.pathname = socketPath(socket.pathname);
  if (isSecure(page) && socket.protocol === 'ws:' && !isLoopback(socket.hostname)) {
    throw new FedraError(
      'invalid-options',
      `a page that came over https may not connect to ${socket.origin}, which is not encrypted: use wss://, or serve the page over http`,
    );
  }
  const http = new URL('./', socket);
  http.protocol = socket.protocol === 'wss:' ? 'https:' : 'http:';
  http.search = '';
  return { socket: socket.href, http: http.href };
}

/** The socket's path below `path`, which may hold all of it, some of it, or a proxy's prefix alone. */
function socketPath(path: string): string {
  const folder = path.replace(/\/+$/, '');
  if (folder.endsWith(SOCKET)) return folder;
  return folder.endsWith('/v1') ? `${folder}/connect` : folder + SOCKET;
}

/** True if the browser blocks mixed content here. A frame of `about:srcdoc` has its parent's origin only. */
function isSecure(page: string | undefined): boolean {
  const origins = [page === undefined ? undefined : new URL(page).origin, globalThis.origin];
  return origins.some((origin) => origin?.startsWith('https:'));
}

/** Hosts that are potentially trustworthy without encryption (W3C Secure Contexts, section 3.1). */
function isLoopback(host: string): boolean {
  return host === '[::1]' || /^127(\.\d+){3}$/.test(host) || /^(.+\.)?localhost\.?$/.test(host);
}
