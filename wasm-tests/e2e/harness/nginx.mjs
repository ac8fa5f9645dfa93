// A real nginx with TLS in front of an aggregator, configured as docs/OPERATIONS.md
// says: the test reads the blocks there. It needs no rights and no file outside of
// its folder.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { certify, get } from './https.mjs';
import { ROOT } from './paths.mjs';
import { freePort, Program } from './programs.mjs';
import { until } from './until.mjs';

/** The path that the documented location block stands for. */
const PREFIX = '/fed/';

/** The address and the files that stand in the documented blocks. */
const UPSTREAM = '127.0.0.1:8080';
const LISTEN = '443';
const CERTIFICATES = '/etc/letsencrypt/live/train.example.org';

export class Nginx {
  /**
   * Starts one on a free port of loopback, once it answers. It passes requests under
   * `prefix`, `/` or `/fed/`, to the aggregator's port without TLS. `certificate`
   * and `key` are PEM files for `localhost`, signed by itself; without them it makes its own.
   */
  static async start(folder, { upstream, prefix = PREFIX, certificate, key }) {
    if (!certificate) ({ certificate, key } = certify(folder, 'nginx'));
    const port = await freePort();
    const nginx = new Nginx(folder, port, prefix, certificate);
    const config = join(folder, 'nginx.conf');
    writeFileSync(config, configuration(folder, { port, upstream, prefix, certificate, key }));
    const args = ['-p', folder, '-c', config, '-e', nginx.log];
    nginx.program = new Program(process.env.NGINX ?? 'nginx', args, nginx.log);
    await until('nginx answers', async () => {
      if (!nginx.program.isRunning) throw new Error(`nginx ended:\n${nginx.program.lastLines()}`);
      return await nginx.get('readyz').then(
        ({ status }) => status === 200,
        () => false,
      );
    });
    return nginx;
  }

  constructor(folder, port, prefix, certificate) {
    this.log = join(folder, 'nginx.log');
    this.port = port;
    this.prefix = prefix;
    /** The certificate that a client has to trust. */
    this.certificate = certificate;
  }

  /** The address of the aggregator behind it, with a slash at its end. */
  get url() {
    return `https://localhost:${this.port}${this.prefix}`;
  }

  /** GETs a path below the prefix: `{ status, headers, body }`. */
  async get(path, headers) {
    return await get(`${this.url}${path}`, { ca: this.certificate, headers });
  }

  /** Ends it; returns its exit code or the signal. */
  async end() {
    return await this.program?.end();
  }
}

/** One process that stays in the foreground, around the documented server. */
function configuration(folder, { port, upstream, prefix, certificate, key }) {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const paths = temporary.map((name) => `  ${name}_temp_path ${join(folder, `nginx-${name}`)};`);
  return `daemon off;
master_process off;
pid ${join(folder, 'nginx.pid')};
events {}
http {
  access_log off;
${paths.join('\n')}
${documentedServer(prefix)
  .replace(`listen ${LISTEN} ssl;`, `listen 127.0.0.1:${port} ssl;`)
  .replace(`${CERTIFICATES}/fullchain.pem`, certificate)
  .replace(`${CERTIFICATES}/privkey.pem`, key)
  .replace(UPSTREAM, `127.0.0.1:${upstream}`)}
}
`;
}

/** The `server` of docs/OPERATIONS.md, with its location block for `prefix`. */
export function documentedServer(prefix) {
  const text = readFileSync(`${ROOT}docs/OPERATIONS.md`, 'utf8');
  const blocks = [...text.matchAll(/```nginx\n(.*?)```/gs)].map(([, block]) => block);
  assert.equal(blocks.length, 2, 'docs/OPERATIONS.md has a server block and a location block');
  const [server, location] = blocks;
  const whole = prefix === PREFIX ? server.replace(/ {2}location \/ \{.*?\n {2}\}\n/s, () => location) : server;
  for (const part of [`location ${prefix} {`, `listen ${LISTEN} ssl;`, CERTIFICATES, `http://${UPSTREAM}`]) {
    assert.ok(whole.includes(part), `the blocks of docs/OPERATIONS.md have ${part}`);
  }
  return whole;
}
