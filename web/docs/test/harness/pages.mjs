/** Pages of the site as text: their blocks of code with markers, their headings and their links. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FILES } from '../../pages.mjs';
import { slug } from '../../slug.mjs';

export const ROOT = join(import.meta.dirname, '../../../..');

const FENCE = /^( *)(`{3,}|~{3,})([^`]*)$/;
const MARKER = /^ *<!-- (unchecked:|checked by|from|with|without) ([\s\S]*?) *-->$/;

/** A page: `{ file, lines }`, the lines of code among them replaced by empty ones, and its `blocks`. */
function read(file) {
  const lines = readFileSync(join(ROOT, file), 'utf8').split(/\r?\n/);
  const blocks = [];
  let markers = [];
  let open;
  lines.forEach((line, index) => {
    const fence = FENCE.exec(line);
    if (open) {
      if (fence?.[2].startsWith(open.fence) && fence[3].trim() === '') {
        blocks.push(open.block);
        open = undefined;
      } else {
        open.block.text += `${line.slice(open.indent)}\n`;
      }
      lines[index] = '';
    } else if (fence) {
      const block = { file, line: index + 1, language: fence[3].trim(), text: '', markers };
      open = { block, fence: fence[2], indent: fence[1].length };
      markers = [];
      lines[index] = '';
    } else {
      const marker = MARKER.exec(line);
      if (marker) markers.push({ kind: marker[1].replace(':', ''), text: marker[2] });
      else if (line.trim() !== '') markers = [];
    }
  });
  if (open) throw new Error(`${file}:${open.block.line}: a block without an end`);
  return { file, lines, blocks };
}

export const pages = FILES.map(read);

/** The text of a block's marker, if it has one of that kind. */
export const marked = (block, kind) => block.markers.find((marker) => marker.kind === kind)?.text;

/** Place of a block for people. */
export const place = ({ file, line }) => `${file}:${line}`;

/** Anchors of a page's headings; one that comes again has a number. */
export function anchors({ lines }) {
  const seen = new Map();
  const found = new Set();
  for (const line of lines) {
    const heading = /^#{1,6} +(.*?) *#*$/.exec(line);
    if (!heading) continue;
    const text = heading[1].replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '');
    const name = slug(text);
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    found.add(count === 0 ? name : `${name}-${count}`);
  }
  return found;
}

/** Links and images of a page: `{ href, line }`. Code in a line is none. */
export function links({ lines }) {
  // Spans of code go first: over line breaks too.
  const text = lines.join('\n').replace(/(`+)[\s\S]*?[^`]\1(?!`)/g, (code) => code.replace(/[^\n]/g, ' '));
  const found = [...text.matchAll(/\]\(\s*<?([^\s)>]+)>?(?:\s+"[^"]*")?\s*\)/g), ...text.matchAll(/^ *\[[^\]]+\]: +(\S+)/gm)];
  return found.map((match) => ({ href: match[1], line: text.slice(0, match.index).split('\n').length }));
}
