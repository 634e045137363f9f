// The command line of bubblewrap for one sandbox: what it sees, may do, and begins with. Pure.
import type { NetworkMode } from '../../model/workload.ts';
import { userFiles } from '../slot.ts';
import type { InsidePaths } from './port.ts';

/** The same in every sandbox, so that pooled processes serve any workload. */
export const bubblewrapInside: InsidePaths = {
  run: '/run/bellows',
  task: '/var/task',
  temporary: '/tmp',
  node: '/opt/node/bin/node',
  runtime: '/opt/bellows',
};
/** Where the instance's memory figures appear. */
export const insideMemoryDirectory = '/var/cg';

/** What programs need of /etc to resolve names, trust certificates and know the time zone, and nothing with a secret. */
const etcFiles = [
  'resolv.conf',
  'hosts',
  'ssl/certs',
  'ssl/openssl.cnf',
  'nsswitch.conf',
  'localtime',
  'ld.so.cache',
  'alternatives',
] as const;

/** POSIX shared memory: enough for semaphores and small buffers. It counts as the instance's memory. */
const sharedMemoryBytes = 16 * 1024 * 1024;

export interface BubblewrapOptions {
  readonly network: NetworkMode;
  readonly env: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  /** Host paths. */
  readonly nodeBinary: string;
  readonly runtimeDirectory: string;
  readonly runDirectory: string;
  readonly sharedDirectory: string;
  readonly temporaryDirectory: string;
}

/** Everything before the command, to be given through `--args`: it holds values that `ps` must not show. */
export function bubblewrapArguments(options: BubblewrapOptions): string[] {
  const inside = bubblewrapInside;
  return [
    ['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup'],
    options.network === 'none' ? ['--unshare-net'] : [],
    ['--hostname', 'bellows'],
    // No controlling terminal to type into.
    ['--new-session'],
    ['--ro-bind', '/usr', '/usr'],
    ['bin', 'sbin', 'lib', 'lib64'].flatMap((name) => ['--symlink', `usr/${name}`, `/${name}`]),
    // Made on the way, these would be open to root only, and the process stops being root.
    ['/etc', '/etc/ssl', '/opt', '/opt/node', '/opt/node/bin', '/run'].flatMap((path) => ['--dir', path]),
    etcFiles.flatMap((name) => ['--ro-bind-try', `/etc/${name}`, `/etc/${name}`]),
    // The slot's own, in its run directory. A mount for each would take 0.2 ms, and longer the more the machine has.
    Object.values(userFiles).flatMap((name) => ['--symlink', `${inside.run}/${name}`, `/etc/${name}`]),
    // Read-only, for before a pooled process gives root up it could write the machine's settings there.
    ['--proc', '/proc', '--remount-ro', '/proc'],
    ['--dev', '/dev', '--perms', '1777', '--size', String(sharedMemoryBytes), '--tmpfs', '/dev/shm'],
    ['--remount-ro', '/dev'],
    ['--bind', options.temporaryDirectory, inside.temporary],
    ['--ro-bind', options.nodeBinary, inside.node],
    ['--ro-bind', options.runtimeDirectory, inside.runtime],
    ['--bind', options.runDirectory, inside.run],
    ['--ro-bind', options.sharedDirectory, '/var'],
    ['--remount-ro', '/'],
    ['--cap-drop', 'ALL', '--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID', '--cap-add', 'CAP_SETPCAP'],
    ['--clearenv'],
    Object.entries(options.env).flatMap(([name, value]) => ['--setenv', name, value]),
    ['--chdir', options.workingDirectory],
  ].flat();
}

/**
 * Wraps a command in the last step of giving up rights: bubblewrap as root leaves the bounding set alone, and what is in
 * it could come back. Null keeps only what is needed to become another user.
 */
export function withoutRights(argv: readonly string[], uid: number | null): string[] {
  const kept = uid === null ? ',+setuid,+setgid' : '';
  const user = uid === null ? [] : ['--reuid', String(uid), '--regid', String(uid), '--clear-groups'];
  return [
    'setpriv',
    ...user,
    `--bounding-set=-all${kept}`,
    '--inh-caps=-all',
    '--ambient-caps=-all',
    '--',
    ...argv,
  ];
}
