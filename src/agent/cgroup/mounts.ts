// Which cgroup hierarchies are mounted where, from /proc/self/mountinfo. Pure: text in, directories out.

export const v1Controllers = ['memory', 'cpu', 'cpuacct', 'freezer', 'pids', 'blkio'] as const;
export type V1Controller = (typeof v1Controllers)[number];
/** The mount point of each controller; cpu and cpuacct share one on most machines. */
export type V1Mounts = ReadonlyMap<V1Controller, string>;

export interface CgroupMounts {
  readonly v1: V1Mounts;
  /** The mount point of the one v2 hierarchy; null when it is not mounted. */
  readonly v2: string | null;
}

export function parseMounts(mountinfo: string): CgroupMounts {
  const v1 = new Map<V1Controller, string>();
  let v2: string | null = null;
  for (const line of mountinfo.split('\n')) {
    // "36 35 98:0 /root /mount/point options optional… - type source superOptions" (proc_pid_mountinfo(5))
    const [left, right] = line.split(' - ');
    const mountPoint = left?.split(' ')[4];
    const [type, , superOptions] = right?.split(' ') ?? [];
    if (mountPoint === undefined) continue;
    const directory = unescape(mountPoint);
    if (type === 'cgroup2') v2 ??= directory;
    if (type !== 'cgroup') continue;
    const options = superOptions?.split(',') ?? [];
    for (const controller of v1Controllers) {
      // The first mount of a controller counts: later ones are the same hierarchy again.
      if (options.includes(controller) && !v1.has(controller)) v1.set(controller, directory);
    }
  }
  return { v1, v2 };
}

/** Space, tab, line break and backslash are written as octal numbers there. */
function unescape(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
