// What the kernel itself says of a process's groups, read without any of Bellows' code: the proof behind assertions.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';

/** The directory of a process's group in a v1 hierarchy, or in v2. */
export function groupDirectory(pid: number, controller: 'memory' | 'cpu' | 'freezer' | 'pids'): string {
  for (const line of readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n')) {
    const [, names, path] = line.split(':');
    if (names?.split(',').includes(controller) === true && path !== undefined)
      return join('/sys/fs/cgroup', names, path);
  }
  const v2 = /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '/';
  return join('/sys/fs/cgroup', v2);
}

/** Bytes; Infinity when there is no limit. While out-of-memory is held on v2, memory.high is the limit, not memory.max. */
export function memoryLimitOf(directory: string): number {
  const v1 = join(directory, 'memory.limit_in_bytes');
  const files = existsSync(v1) ? [v1] : ['memory.max', 'memory.high'].map((name) => join(directory, name));
  return Math.min(...files.map((file) => limitIn(readFileSync(file, 'utf8').trim())));
}

function limitIn(text: string): number {
  const bytes = text === 'max' ? Infinity : Number(text);
  return bytes >= 2 ** 62 ? Infinity : bytes;
}

/** Millicores; Infinity when there is no quota. */
export function cpuLimitOf(directory: string): number {
  if (existsSync(join(directory, 'cpu.cfs_quota_us'))) {
    const quota = Number(readFileSync(join(directory, 'cpu.cfs_quota_us'), 'utf8'));
    const period = Number(readFileSync(join(directory, 'cpu.cfs_period_us'), 'utf8'));
    return quota < 0 ? Infinity : Math.round((quota / period) * 1000);
  }
  const [quota = 'max', period = '100000'] = readFileSync(join(directory, 'cpu.max'), 'utf8')
    .trim()
    .split(' ');
  return quota === 'max' ? Infinity : Math.round((Number(quota) / Number(period)) * 1000);
}

/** The nice value of each of a process's threads: the nineteenth field; the second may hold blanks. */
export function nicenessesOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const text = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16]);
  });
}

/** The time slice of each thread of a process, the first thread's first; empty where threads are not given one of their own (before Linux 6.12). */
export function slicesMsOf(pid: number): number[] {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 12) || !existsSync(`/proc/${pid}/sched`)) return [];
  return readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .sort((a, b) => a - b)
    .map((thread) => readFileSync(`/proc/${pid}/task/${thread}/sched`, 'utf8'))
    .map((text) => Number(/^se\.slice +: +(\d+)/m.exec(text)?.[1]) / 1e6);
}

/** The nice value of a process's whole session, where the kernel groups by session; else 0. */
export function sessionNicenessOf(pid: number): number {
  const file = `/proc/${pid}/autogroup`;
  return existsSync(file) ? Number(/nice (-?\d+)/.exec(readFileSync(file, 'utf8'))?.[1]) : 0;
}

export function oomKillsOf(directory: string): number {
  const v1 = join(directory, 'memory.oom_control');
  const text = readFileSync(existsSync(v1) ? v1 : join(directory, 'memory.events'), 'utf8');
  return Number(/^oom_kill (\d+)/m.exec(text)?.[1] ?? 0);
}

/** Every group of any hierarchy whose name contains `fragment`. */
export function groupsNamed(fragment: string): string[] {
  const found: string[] = [];
  for (const hierarchy of readdirSync('/sys/fs/cgroup')) {
    const directory = join('/sys/fs/cgroup', hierarchy);
    try {
      for (const name of readdirSync(directory))
        if (name.includes(fragment)) found.push(join(directory, name));
    } catch {
      // a file, or not ours to read
    }
  }
  return found;
}

export function mountsBelow(directory: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path === directory || path.startsWith(`${directory}/`));
}

/** Processes that name `text` in their command line or environment. */
export function processesMentioning(text: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid) || pid === process.pid) return false;
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text) ||
          readFileSync(`/proc/${pid}/environ`, 'utf8').includes(text)
        );
      } catch {
        return false;
      }
    });
}

export function isProcess(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/** Every loop device that is in use, with the file behind it. */
export function loopDevices(): { readonly name: string; readonly file: string }[] {
  return readdirSync('/sys/block').flatMap((name) => {
    try {
      return [{ name, file: readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim() }];
    } catch {
      // Another kind of device, or a loop device that is free.
      return [];
    }
  });
}

/**
 * Which of these processes has the server's end of a TCP connection within this machine, by the kernel's own tables; undefined
 * when none has it yet, as while it waits to be accepted.
 */
export function ownerOfConnection(
  clientPort: number,
  serverPort: number,
  pids: readonly number[],
): number | undefined {
  return ownersOfConnections([clientPort], serverPort, pids)[0];
}

/** The same of many at once: on a busy machine the tables are long, and each process's have all its connections. */
export function ownersOfConnections(
  clientPorts: readonly number[],
  serverPort: number,
  pids: readonly number[],
): (number | undefined)[] {
  const server = serverPort.toString(16).toUpperCase().padStart(4, '0');
  const inodes = new Map<number, string>();
  for (const row of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
    const [, local, remote, , , , , , , inode] = row.trim().split(/\s+/);
    if (local?.endsWith(`:${server}`) !== true || remote === undefined || inode === undefined) continue;
    inodes.set(Number.parseInt(remote.slice(remote.indexOf(':') + 1), 16), `socket:[${inode}]`);
  }
  const owners = new Map<string, number>();
  for (const pid of pids)
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      try {
        owners.set(readlinkSync(`/proc/${pid}/fd/${fd}`), pid);
      } catch {
        // Closed since it was listed.
      }
    }
  return clientPorts.map((port) => owners.get(inodes.get(port) ?? ''));
}
