// `npm test`: every check and every suite, on a fresh machine too. Installs the system packages that suites need where it
// may (root with apt); a suite that still can not run is named with its reason in the last lines, which fails with CI=true.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installSystemPackages } from './system-packages.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const bin = join(root, 'node_modules', '.bin');
const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` };

function run(title, command, ...args) {
  console.log(`\n> ${title}`);
  const { status, error } = spawnSync(existsSync(join(bin, command)) ? join(bin, command) : command, args, {
    cwd: root,
    env,
    stdio: 'inherit',
  });
  if (error) throw error;
  return status ?? 1;
}

installSystemPackages([
  'bubblewrap',
  'chromium',
  'python3',
  'python3-websockets',
  'python3-autobahn',
  'curl',
  // Makes certificates for localhost.
  'openssl',
  // Virtual machines, and what their image and disks are made with.
  'qemu-system-x86',
  'erofs-utils',
  'xz-utils',
  'e2fsprogs',
  'iproute2',
  // What guests unpack code with: its tests run on the host, too.
  'busybox',
]);

const checks = [
  ['types', 'tsc', '--noEmit'],
  ['lint and layers', 'oxlint'],
  ['format', 'prettier', '--check', '--log-level', 'warn', '.'],
  ['dead code', 'knip'],
];
const failed = [];
for (const [title, command, ...args] of checks) {
  if (run(title, command, ...args) !== 0) failed.push(title);
}
// Last, so that its closing line, `N passed, N failed`, is the run's.
const tests = run('tests', 'vitest', 'run', ...process.argv.slice(2));
if (failed.length > 0) console.error(`\nAlso failed, above: ${failed.join(', ')}`);
process.exit(tests !== 0 || failed.length > 0 ? 1 : 0);
