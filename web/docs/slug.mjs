/** Anchors of headings, as GitHub makes them: a link works there and on the site. */

/** Anchor of a heading, given as text without marks of Markdown. */
export const slug = (text) =>
  text
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, '')
    .replace(/\s/g, '-');
