/** Blocks of JavaScript and TypeScript, and modules in HTML, type-checked against the package's sources. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { place, ROOT } from './pages.mjs';

const PACKAGE = join(ROOT, 'web/package');

/** Names that excerpts take as given. */
const AMBIENT = `
declare const FedraClient: typeof import('fedra').FedraClient;
declare const client: import('fedra').FedraClient;
declare const features: Float32Array;
declare const labels: Uint32Array;
declare const file: File;
declare const other: File;
declare const url: string;
declare const input: HTMLInputElement & { files: FileList };
declare const checkbox: HTMLInputElement;
declare const button: HTMLButtonElement;
declare const task: string;
declare const signal: AbortSignal;
/** Elements that a page finds by a selector are of the kind that it needs. */
interface Element { value: any; files: any; disabled: any; onclick: any }
declare function showDialog(terms: object): Promise<boolean>;
declare function show(...values: unknown[]): void;
declare function loadExamples(): Promise<import('fedra').TrainingData>;
`;

const OPTIONS = {
  allowJs: true,
  checkJs: true,
  noEmit: true,
  skipLibCheck: true,
  strict: false,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
  types: ['node'],
  typeRoots: [join(import.meta.dirname, '../../node_modules/@types')],
};

/** Sources of what the package exports, by the names that a page imports. */
function exported() {
  const { exports } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'));
  const source = (target) => (typeof target === 'string' ? target : (target.types ?? target.default));
  const entries = Object.entries(exports).flatMap(([name, target]) => {
    const module = /^\.\/dist\/(.*?)(\.d\.ts|\.js)$/.exec(source(target))?.[1];
    return module ? [[name.replace(/^\./, 'fedra'), [join(PACKAGE, `src/${module}.ts`)]]] : [];
  });
  // A page that serves the package itself imports its built files.
  return Object.fromEntries([...entries, ['/fedra/dist/*.js', [join(PACKAGE, 'src/*.ts')]]]);
}

/** The modules in a block of HTML. */
const modules = (html) => [...html.matchAll(/<script type="module">([\s\S]*?)<\/script>/g)].map(([, text]) => text).join('\n');

/** Checks blocks together. Returns what is wrong, a line for each mistake with the block's place. */
export function checkScripts(blocks, folder) {
  mkdirSync(folder, { recursive: true });
  const ambient = join(folder, 'ambient.d.ts');
  writeFileSync(ambient, AMBIENT);
  const named = new Map();
  blocks.forEach((block, index) => {
    const typed = /^tsx?$/.test(block.language);
    const text = block.language === 'html' ? modules(block.text) : block.text;
    const file = join(folder, `block-${index}.${typed ? 'ts' : 'js'}`);
    writeFileSync(file, `${text}\nexport {};\n`);
    named.set(file, block);
  });
  const program = ts.createProgram([ambient, ...named.keys()], { ...OPTIONS, paths: exported() });
  const problems = [];
  for (const [file, block] of named) {
    const source = program.getSourceFile(file);
    for (const found of [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]) {
      const line = found.start === undefined ? 0 : source.getLineAndCharacterOfPosition(found.start).line + 1;
      problems.push(`${place(block)}, line ${line} of the block: ${ts.flattenDiagnosticMessageText(found.messageText, ' ')}`);
    }
  }
  rmSync(folder, { recursive: true });
  return problems;
}
