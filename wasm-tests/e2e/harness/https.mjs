// HTTPS with certificates that the test made: node's `fetch` takes none.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request as plain } from 'node:http';
import { request as encrypted } from 'node:https';
import { join } from 'node:path';

import { program } from './paths.mjs';

/** Writes a certificate for `localhost` and 127.0.0.1 and its key, as PEM files. */
export function certify(folder, name) {
  const certificate = join(folder, `${name}-certificate.pem`);
  const key = join(folder, `${name}-key.pem`);
  execFileSync(program('fedra-load'), ['certificate', '--certificate', certificate, '--private-key', key]);
  return { certificate, key };
}

/**
 * GETs `url`: `{ status, headers, head, body }`. The body is a Buffer, as it was sent;
 * `head` is the number of bytes before it.
 * `ca` is the PEM file of the one certificate to trust.
 */
export function get(url, { ca, headers } = {}) {
  const request = url.startsWith('https:') ? encrypted : plain;
  return new Promise((resolve, reject) => {
    const sent = request(url, { ca: ca && readFileSync(ca), headers, agent: false }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('error', reject);
      answer.on('end', () => {
        const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`, ''];
        for (let i = 0; i < answer.rawHeaders.length; i += 2) lines.push(`${answer.rawHeaders[i]}: ${answer.rawHeaders[i + 1]}`);
        const head = lines.join('\r\n').length + 2;
        resolve({ status: answer.statusCode, headers: answer.headers, head, body: Buffer.concat(parts) });
      });
    });
    sent.on('error', reject);
    sent.end();
  });
}
