/**
 * The token that a client checks in with. The page gives it as a text or through a
 * function that is asked before every connection. It must not keep, log or report one.
 */
import { FedraError } from './errors.js';

/** A token, or a function that gives one. It is asked before every connection, so a token may be short-lived. */
export type TokenSource = string | (() => string | Promise<string>);

/** Most characters of a token. */
const LONGEST = 4096;
const MUST = `1 to ${LONGEST} visible ASCII characters`;

/** Checks the option `token` of `connect`. */
export function checkTokenSource(token: unknown): TokenSource | undefined {
  if (token === undefined || typeof token === 'function' || isToken(token)) return token as TokenSource | undefined;
  throw new FedraError('invalid-options', `token must be ${MUST}, or a function that gives them`);
}

/** The token for the next connection. Rejects with a message that does not repeat it. */
export async function askForToken(source: TokenSource): Promise<string> {
  const token: unknown = typeof source === 'function' ? await source() : source;
  if (!isToken(token)) throw new Error(`the token must be ${MUST}`);
  return token;
}

function isToken(token: unknown): token is string {
  return typeof token === 'string' && token.length <= LONGEST && /^[\x21-\x7e]+$/.test(token);
}
