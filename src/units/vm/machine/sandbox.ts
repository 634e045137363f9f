// What a QEMU process may see of the host, and as whom it runs: a command line around QEMU's. Pure.
// Owns the rights of the process; QEMU's own system call filter is in arguments.ts, resource groups are launch.ts's.
//
//   as root       bubblewrap: own mounts, processes, IPC; then setpriv: a user of the unit's own, no capabilities at all
//   as a user     bubblewrap with a user namespace, where the system allows it
//   otherwise     nothing around it: QEMU is what the user is

export type Confinement =
  | {
      readonly kind: 'separate user';
      readonly uid: number;
      /** Of /dev/kvm, where it is used. */ readonly gid: number | null;
    }
  | { readonly kind: 'namespaces' }
  | { readonly kind: 'none' };

/** Where QEMU finds its own files, whatever the host calls them. */
export const insidePaths = {
  run: '/run/unit',
  kernel: '/image/kernel',
  initrd: '/image/initrd',
  root: '/image/root',
  scratchFile: '/scratch',
} as const;

export interface SandboxPaths {
  readonly runDirectory: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly root: string;
  readonly scratch: { readonly kind: 'device' | 'file'; readonly path: string };
  readonly kvm: boolean;
}

/** Descriptors that bubblewrap is given. */
export interface SandboxDescriptors {
  readonly info: number;
  readonly block: number;
  /** A filter of system calls, beyond QEMU's own; null for none. */
  readonly seccomp: number | null;
}

/** What QEMU reads of /etc: where libraries are, and names for user networking. */
const etcFiles = ['ld.so.cache', 'resolv.conf', 'hosts', 'nsswitch.conf', 'alternatives'] as const;

export function sandboxed(
  qemu: readonly string[],
  paths: SandboxPaths,
  confinement: Exclude<Confinement, { kind: 'none' }>,
  fds: SandboxDescriptors,
): string[] {
  const devices = [
    ...(paths.kvm ? ['/dev/kvm'] : []),
    ...(paths.scratch.kind === 'device' ? [paths.scratch.path] : []),
  ];
  return [
    ['bwrap', '--info-fd', String(fds.info), '--block-fd', String(fds.block)],
    fds.seccomp === null ? [] : ['--seccomp', String(fds.seccomp)],
    // QEMU is the first process in its namespace: with it goes everything in there.
    [
      '--unshare-pid',
      '--as-pid-1',
      '--unshare-ipc',
      '--unshare-uts',
      '--unshare-cgroup-try',
      '--new-session',
    ],
    ['--ro-bind', '/usr', '/usr'],
    ['bin', 'sbin', 'lib', 'lib64'].flatMap((name) => ['--symlink', `usr/${name}`, `/${name}`]),
    ['--dir', '/etc'],
    etcFiles.flatMap((name) => ['--ro-bind-try', `/etc/${name}`, `/etc/${name}`]),
    // For /proc/self/fd: a template's memory is a file without a name.
    ['--proc', '/proc', '--dev', '/dev'],
    devices.flatMap((path) => ['--dev-bind', path, path]),
    ['--dir', '/image', '--ro-bind', paths.kernel, insidePaths.kernel],
    ['--ro-bind', paths.initrd, insidePaths.initrd, '--ro-bind', paths.root, insidePaths.root],
    paths.scratch.kind === 'file' ? ['--bind', paths.scratch.path, insidePaths.scratchFile] : [],
    ['--dir', '/run', '--bind', paths.runDirectory, insidePaths.run],
    ['--remount-ro', '/'],
    ['--clearenv', '--chdir', '/'],
    confinement.kind === 'separate user' ? asUser(confinement) : ['--'],
    qemu,
  ].flat();
}

/** Bubblewrap as root leaves the bounding set alone, and what is in it could come back: setpriv takes that last step. */
function asUser({ uid, gid }: { readonly uid: number; readonly gid: number | null }): string[] {
  return [
    ...[
      '--cap-drop',
      'ALL',
      '--cap-add',
      'CAP_SETUID',
      '--cap-add',
      'CAP_SETGID',
      '--cap-add',
      'CAP_SETPCAP',
      '--',
    ],
    ...['setpriv', '--reuid', String(uid), '--regid', String(uid)],
    gid === null ? '--clear-groups' : `--groups=${gid}`,
    ...['--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all', '--no-new-privs', '--'],
  ];
}
