/** Links of a page as they are in the repository, turned into addresses of the site. */

import { existsSync } from 'node:fs';
import { dirname, relative, resolve, sep } from 'node:path';
import { address, FILES } from './pages.mjs';
import { sourceAddress } from './source.mjs';

/** Parts of a relative link of `page`: the file from the root that it leads to, and the rest of it. */
export function parts(root, page, href) {
  const [, path, rest] = /^([^?#]*)(.*)$/s.exec(href);
  const file =
    path === ''
      ? page
      : relative(root, resolve(root, dirname(page), decodeURI(path)))
          .split(sep)
          .join('/');
  return { file, rest };
}

/** True of a link that leaves the site. */
export const leaves = (href) => /^[a-z][a-z0-9+.-]*:|^\/\//i.test(href);

/**
 * Rewrites the links of every page. Files of the repository that are no pages are noted in
 * `sources`; the site has copies of them.
 */
export function links(md, root, sources) {
  md.core.ruler.push('site-links', ({ tokens, env }) => {
    const page = relative(root, env.realPath ?? env.path)
      .split(sep)
      .join('/');
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const href = token.type === 'link_open' ? token.attrGet('href') : null;
      if (href === null || href.startsWith('#') || leaves(href)) continue;
      const { file, rest } = parts(root, page, href);
      if (FILES.includes(file)) {
        token.attrSet('href', `/${address(file)}.html${rest}`);
      } else if (existsSync(resolve(root, file))) {
        sources.add(file);
        token.attrSet('href', sourceAddress(root, file));
        token.attrSet('target', '_self');
      }
    }
  });
}
