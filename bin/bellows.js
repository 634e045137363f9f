#!/usr/bin/env node
// The one command. Plain JavaScript that any Node >= 20 can read: it runs src/ in a checkout (Node strips the types) and
// dist/ where it is installed (Node strips none inside node_modules), under the pinned Node where this one is older.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const NEEDS = 26;
const source = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
const built = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const main = existsSync(source) ? source : built;

if (Number(process.versions.node.split('.')[0]) >= NEEDS) {
  process.argv[1] = main;
  await import(
    new URL(existsSync(source) ? '../src/cli/main.ts' : '../dist/cli/main.js', import.meta.url).href
  );
} else {
  const node = pinnedNode();
  if (node === undefined) {
    console.error(
      `bellows: needs Node ${NEEDS}, this is ${process.version}, and the one that comes with bellows is not installed.\n` +
        `Install again without --omit=optional, or run it with Node ${NEEDS} or newer (${process.platform} ${process.arch}).`,
    );
    process.exit(1);
  }
  await runUnder(node);
}

/** The binary of the optional dependency for this platform. */
function pinnedNode() {
  const require = createRequire(import.meta.url);
  const names = [`node-${process.platform}-${process.arch}`, `node-bin-${process.platform}-${process.arch}`];
  for (const name of names) {
    try {
      return require.resolve(`${name}/bin/node`);
    } catch {
      // not this platform's name, or not installed
    }
  }
  return undefined;
}

/** Becomes `node` where this Node can (>= 22.15); else runs it as a child and passes signals, streams and exit status. */
async function runUnder(node) {
  const args = [...process.execArgv, main, ...process.argv.slice(2)];
  if (typeof process.execve === 'function') {
    process.removeAllListeners('warning');
    process.on('warning', () => {});
    try {
      process.execve(node, [node, ...args], process.env);
    } catch {
      // not on this platform: a child, then
    }
  }
  const { spawn } = await import('node:child_process');
  const child = spawn(node, args, { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'])
    process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`bellows: cannot run ${node}: ${error.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)));
}
