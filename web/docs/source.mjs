/** Files of the repository that pages link to, as plain text beside the pages. */

import { cpSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const isFolder = (root, file) => statSync(join(root, file)).isDirectory();

/** Address of a file, or of a folder's list of files. */
export const sourceAddress = (root, file) => `/source/${file.replace(/\/$/, '')}${isFolder(root, file) ? '/index.html' : '.txt'}`;

/** Copies the files, and lists the folders with the files that lie in them. */
export function copySource(root, out, files) {
  for (const file of files) {
    if (isFolder(root, file)) list(root, out, file.replace(/\/$/, ''));
    else copy(root, out, file);
  }
}

function copy(root, out, file) {
  const to = join(out, 'source', `${file}.txt`);
  mkdirSync(dirname(to), { recursive: true });
  cpSync(join(root, file), to);
}

function list(root, out, folder) {
  const names = readdirSync(join(root, folder), { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
  for (const name of names) copy(root, out, `${folder}/${name}`);
  const items = names.map((name) => `<li><a href="${name}.txt">${name}</a></li>`).join('');
  const style = '<meta name="color-scheme" content="light dark"><meta name="viewport" content="width=device-width">';
  const page = `<!doctype html><html lang="en"><meta charset="utf-8">${style}<title>${folder}</title><main><h1>${folder}</h1><ul>${items}</ul></main></html>\n`;
  mkdirSync(join(out, 'source', folder), { recursive: true });
  writeFileSync(join(out, 'source', folder, 'index.html'), page);
}
