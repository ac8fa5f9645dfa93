/**
 * The SHA-256 of bytes in hexadecimal digits; undefined where there is no `crypto.subtle`, as on
 * pages without TLS (except on this machine itself).
 */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  if (!globalThis.crypto?.subtle) return undefined;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
