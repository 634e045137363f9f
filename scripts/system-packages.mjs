// Installs system packages with apt where that is possible: root, on a Debian-like system. Elsewhere it says what is
// missing and goes on: whoever needs it decides what that means. Plain JavaScript without dependencies.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

/** The command, or the file, that shows that a package is there. */
const commandOf = {
  bubblewrap: 'bwrap',
  'qemu-system-x86': 'qemu-system-x86_64',
  'erofs-utils': 'mkfs.erofs',
  'xz-utils': 'xz',
  e2fsprogs: 'mkfs.ext4',
  iproute2: 'ip',
  'python3-websockets': '/usr/lib/python3/dist-packages/websockets',
  'python3-autobahn': '/usr/lib/python3/dist-packages/autobahn',
};

function onPath(command) {
  if (isAbsolute(command)) return existsSync(command);
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, command)));
}

/** Returns the packages that are still missing. */
export function installSystemPackages(packages) {
  const missing = packages.filter((name) => !onPath(commandOf[name] ?? name));
  if (missing.length === 0) return [];
  const root = process.getuid?.() === 0;
  if (!root || !onPath('apt-get')) {
    console.error(
      `Missing: ${missing.join(', ')}. ${root ? 'There is no apt-get here' : 'Not root'}: install them yourself.`,
    );
    return missing;
  }
  console.log(`Installing ${missing.join(', ')} (apt-get)…`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) =>
    spawnSync('apt-get', args, { env, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
  apt('update', '-qq');
  apt('install', '-y', '-qq', '--no-install-recommends', ...missing);
  const still = missing.filter((name) => !onPath(commandOf[name] ?? name));
  if (still.length > 0) console.error(`Could not install ${still.join(', ')}.`);
  return still;
}
