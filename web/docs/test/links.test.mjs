/** Links of the pages as they are in the repository: files and anchors exist, addresses are well formed. */

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { leaves, parts } from '../links.mjs';
import { FILES } from '../pages.mjs';
import { anchors, links, pages, ROOT } from './harness/pages.mjs';

const headings = new Map(pages.map((page) => [page.file, anchors(page)]));

test('every Markdown file of docs is a page of the menu', () => {
  const files = readdirSync(join(ROOT, 'docs'), { recursive: true }).filter((name) => name.endsWith('.md'));
  const missing = files.map((name) => `docs/${name.replaceAll('\\', '/')}`).filter((file) => !FILES.includes(file));
  assert.deepEqual(missing, [], 'name it in web/docs/pages.mjs');
});

test('relative links lead to files and headings that exist', () => {
  const broken = [];
  for (const page of pages) {
    for (const { href, line } of links(page)) {
      if (leaves(href)) continue;
      const { file, rest } = parts(ROOT, page.file, href);
      const anchor = rest.replace(/^[^#]*#?/, '');
      if (!existsSync(join(ROOT, file))) broken.push(`${page.file}:${line}: no file ${href}`);
      else if (anchor && headings.has(file) && !headings.get(file).has(decodeURIComponent(anchor))) {
        broken.push(`${page.file}:${line}: no heading ${href}`);
      }
    }
  }
  assert.deepEqual(broken, []);
});

test('other addresses are well formed and encrypted', () => {
  const wrong = pages.flatMap((page) =>
    links(page)
      .filter(({ href }) => leaves(href) && !/^mailto:[^@]+@[^@]+$/.test(href))
      .filter(({ href }) => !URL.canParse(href) || !/^https:$|^http:$/.test(new URL(href).protocol))
      .map(({ href, line }) => `${page.file}:${line}: ${href}`),
  );
  assert.deepEqual(wrong, []);
});
