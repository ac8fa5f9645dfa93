/** The built site: its files, a server of them on loopback, and a browser. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { extname, join } from 'node:path';
import { launch } from '../../../demo/test/harness/chromium.mjs';
import { ROOT } from './pages.mjs';

export const SITE = join(ROOT, 'target/site');

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml' };

/** Pages of the built site as text, by their addresses. Without those of the references. */
export function built() {
  if (!existsSync(SITE)) throw new Error(`${SITE} is missing: \`npm run build\` in web/docs makes it`);
  const files = readdirSync(SITE, { recursive: true }).filter((name) => name.endsWith('.html') && !name.startsWith('reference'));
  return new Map(files.map((name) => [`/${name.replaceAll('\\', '/')}`, readFileSync(join(SITE, name), 'utf8')]));
}

/** Serves the site: `{ url, close }`. */
export async function serve() {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://site');
    const name = decodeURIComponent(pathname).replace(/\/$/, '/index.html');
    const file = join(SITE, name);
    const found = !name.includes('..') && existsSync(file);
    response.writeHead(found ? 200 : 404, { 'content-type': TYPES[extname(name)] ?? 'application/octet-stream' });
    response.end(found ? readFileSync(file) : '');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** The script of axe-core. */
export const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export { launch };
