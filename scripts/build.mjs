// dist/: the package's compiled form (npm pack, npm publish). src/ runs as it is in a checkout.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
rmSync(join(root, 'dist'), { recursive: true, force: true });
const tsc = spawnSync(
  process.execPath,
  [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'],
  {
    cwd: root,
    stdio: 'inherit',
  },
);
if (tsc.status !== 0) process.exit(tsc.status ?? 1);
// The agent of virtual machines: who installs the package has no bundler.
const bundle = spawnSync(process.execPath, ['scripts/bundle-guest.mjs', 'dist/guest-agent'], {
  cwd: root,
  stdio: 'inherit',
});
if (bundle.status !== 0) process.exit(bundle.status ?? 1);
// What is not TypeScript goes along as it is.
const keep = (path) => !path.endsWith('.ts');
for (const folder of ['dashboard', 'runtime', 'units', 'agent']) {
  const from = join(root, 'src', folder);
  if (existsSync(from)) cpSync(from, join(root, 'dist', folder), { recursive: true, filter: keep });
}
