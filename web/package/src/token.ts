/**
 * The token that a client checks in with. The page gives it as a text or through a
 * function that is asked before every connection. It must not keep, log or report one.
 */
import { FedraError, wordsOf } from './errors.js';
import type { ToWorker } from './messages.js';

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

/** The answer to a worker that asks for the token of its next connection. The message of a failure does not repeat it. */
export async function answerToken(source: TokenSource | undefined, id: number): Promise<ToWorker> {
  try {
    if (source === undefined) throw new Error('the page gave none');
    const token: unknown = typeof source === 'function' ? await source() : source;
    if (!isToken(token)) throw new Error(`the token must be ${MUST}`);
    return { type: 'token', id, token };
  } catch (error) {
    return { type: 'no-token', id, message: wordsOf(error) };
  }
}

function isToken(token: unknown): token is string {
  return typeof token === 'string' && token.length <= LONGEST && /^[\x21-\x7e]+$/.test(token);
}
