// Installs what package-lock.json says when that is not what node_modules holds. Runs before `npm start` and `npm test`,
// on any Node >= 20, with nothing installed; quiet and quick (no npm started) when there is nothing to do.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const modules = join(root, 'node_modules');
const stamp = join(modules, '.bellows-lock');
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .update(`${process.platform} ${process.arch}`)
  .digest('hex');

// An npm package's tarball has no lock file and no need of this script: it is for a checkout.
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
  console.log('Installing dependencies (npm ci)…');
  install();
  linkNode();
  writeFileSync(stamp, wanted);
}

function install() {
  rmSync(stamp, { force: true });
  const env = { ...process.env };
  // Not the Node inside node_modules: npm ci removes that first.
  env.PATH = (env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => !folder.startsWith(modules))
    .join(delimiter);
  // npm start's own settings would reach the inner npm as npm_config_*: dev dependencies and the optional node binary are
  // needed here whatever they say.
  for (const key of Object.keys(env))
    if (/^npm_config_(omit|only|production|optional|dry_run)$/i.test(key)) delete env[key];
  if (env.NODE_ENV === 'production') delete env.NODE_ENV;
  const quiet = ['--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  const run = (...args) =>
    spawnSync('npm', [...args, ...quiet], {
      cwd: root,
      env,
      stdio: 'inherit',
      shell: process.platform === 'win32',
    });
  let npm = run('ci');
  // Where the registry lacks another platform's optional binaries npm 11's `ci` calls the lock file out of sync.
  if (npm.status) npm = run('install', '--no-save');
  if (npm.status === 0) return;
  console.error(
    npm.error
      ? `bellows: cannot run npm: ${npm.error.message}. Install npm (it comes with Node).`
      : `bellows: npm ci failed (above). Is the npm registry reachable from here?`,
  );
  process.exit(npm.status ?? 1);
}

/** npm 9 and 10 install the pinned Node (an optional dependency) without linking its bin: npm scripts need it in .bin. */
function linkNode() {
  const link = join(modules, '.bin', 'node');
  for (const name of ['node', 'node-bin'].map((prefix) => `${prefix}-${process.platform}-${process.arch}`)) {
    if (!existsSync(join(modules, name, 'bin', 'node')) || lstatSync(link, { throwIfNoEntry: false }))
      continue;
    symlinkSync(join('..', name, 'bin', 'node'), link);
  }
}
