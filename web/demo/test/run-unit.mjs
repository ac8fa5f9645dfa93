// Compiles the page's modules that need no browser and runs their tests.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const run = (...args) => {
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
};

run(path('../../node_modules/typescript/bin/tsc'), '-p', path('./tsconfig.json'));
run('--test', '--test-reporter=spec', path('./unit/'));
