/** The site: pages from the whole repository, their addresses, the menu and the look of code. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitepress';
import { links } from '../links.mjs';
import { address, FILES, GROUPS } from '../pages.mjs';
import { slug } from '../slug.mjs';
import { copySource } from '../source.mjs';

const ROOT = join(import.meta.dirname, '../../..');
/** Folder of the site and, beside the pages, of the references of the package and of the crates. */
const OUT = join(ROOT, 'target/site');
/** References are built after the pages, and only by `cargo xtask docs`. */
const REFERENCES = process.env.FEDRA_DOCS_REFERENCES
  ? [
      { text: 'npm package: types', link: '/reference/package/index.html', target: '_self' },
      { text: 'Rust: crates', link: '/reference/rust/fedra_edge_client/index.html', target: '_self' },
    ]
  : [];

/** Folders of the repository that are not looked through for pages. */
const others = readdirSync(ROOT, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !['docs', 'web'].includes(entry.name))
  .map(({ name }) => `${name}/**`);

/** Pages lie outside this project, and find its packages by these. */
const modules = join(import.meta.dirname, '../node_modules');
const packages = [
  { find: /^vue\/server-renderer$/, replacement: join(modules, 'vue/server-renderer/index.mjs') },
  { find: /^vue$/, replacement: join(modules, 'vue/dist/vue.runtime.esm-bundler.js') },
];

const sources = new Set();

export default defineConfig({
  title: 'Fedra',
  description: 'Federated learning in browsers and on edge devices, in Rust and WebAssembly',
  lang: 'en-GB',
  base: process.env.FEDRA_DOCS_BASE ?? '/',
  srcDir: ROOT,
  srcExclude: [...others, 'web/demo/**', 'web/docs/**', 'web/lint/**', 'web/README.md'],
  outDir: OUT,
  cacheDir: join(ROOT, 'target/site-cache'),
  rewrites: Object.fromEntries(FILES.map((file) => [file, `${address(file)}.md`])),
  metaChunk: true,
  vite: { resolve: { alias: packages } },
  markdown: {
    anchor: { slugify: slug },
    // Braces of formulas are no attributes.
    attrs: { disable: true },
    config: (md) => links(md, ROOT, sources),
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
  },
  themeConfig: {
    nav: [
      { text: 'Begin', link: '/' },
      { text: 'Questions', link: '/faq' },
      ...(REFERENCES.length ? [{ text: 'API', items: REFERENCES }] : []),
    ],
    sidebar: GROUPS.map(({ name, pages }) => ({
      text: name,
      items: pages.map(([file, text]) => ({ text, link: `/${address(file)}`.replace(/\/index$/, '/') })),
    })),
    outline: { level: [2, 3], label: 'On this page' },
    search: { provider: 'local' },
    darkModeSwitchLabel: 'Dark',
    sidebarMenuLabel: 'Menu',
    returnToTopLabel: 'To the top',
    docFooter: { prev: 'Before', next: 'Next' },
  },
  buildEnd: () => copySource(ROOT, OUT, sources),
});
