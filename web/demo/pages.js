// The pages of the build, each a folder's index.html: the visitors' and the operator's.
import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

export const pages = { index: path('./index.html'), admin: path('./admin/index.html') };
