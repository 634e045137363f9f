// Which kind of resource groups works on this machine, and in words what is not enforced and how to change that.
// Looks and tries, once at the agent's start; makes the root group of what it chooses and nothing else.
import { accessSync, constants } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf } from '../../base/errors.ts';
import { readPids, readTextIfThere } from './files.ts';
import { parseMounts, type CgroupMounts } from './mounts.ts';
import { CgroupNone } from './none.ts';
import type { Cgroup } from './port.ts';
import { CgroupV1, missingControllers } from './v1.ts';
import { CgroupV2, missingV2Controllers } from './v2.ts';

/** One thing that Bellows promises and this machine does not hold: what, why, and how to solve it. */
export interface NotEnforced {
  readonly what: string;
  readonly why: string;
  readonly solve: string;
}

export interface Detected {
  readonly cgroup: Cgroup;
  readonly notEnforced: readonly NotEnforced[];
}

/** What a machine without a controller goes without. */
const lossOf: Readonly<Record<string, string>> = {
  memory: 'memory limits',
  cpu: 'CPU limits',
  cpuacct: 'CPU accounting',
  freezer: 'freezing of idle instances',
  pids: 'limits on the number of processes',
  blkio: 'I/O accounting',
  io: 'I/O accounting',
};
const runAsRoot = 'Run Bellows as root, or as a service with `Delegate=yes` under systemd.';

/** @param rootName the one group that is ours, in every hierarchy. */
export function detectCgroup(rootName: string): Detected {
  const mounts = parseMounts(readTextIfThere('/proc/self/mountinfo') ?? '');
  // Where both are mounted, memory is in one of them: that one decides.
  const reasons: string[] = [];
  for (const attempt of [tryV2, tryV1]) {
    const result = attempt(mounts, rootName);
    if (typeof result !== 'string') return result;
    reasons.push(result);
  }
  const why = reasons.join(' ');
  const losses = ['memory', 'cpu', 'pids', 'freezer'] as const;
  return {
    cgroup: new CgroupNone(),
    notEnforced: losses.map((loss) => ({ what: lossOf[loss] ?? loss, why, solve: runAsRoot })),
  };
}

type Attempt = Detected | string;

function tryV1(mounts: CgroupMounts, rootName: string): Attempt {
  if (!mounts.v1.has('memory')) return 'No cgroup v1 memory controller is mounted.';
  const cgroup = new CgroupV1({ mounts: mounts.v1, rootName });
  try {
    cgroup.create([]);
  } catch (error) {
    return `No cgroup v1 group can be made: ${messageOf(error)}.`;
  }
  const solve = 'Mount the controller, or boot with cgroup v2.';
  return {
    cgroup,
    notEnforced: missingControllers(mounts.v1).map((controller) => ({
      what: lossOf[controller] ?? controller,
      why: `The cgroup v1 controller ${controller} is not mounted.`,
      solve,
    })),
  };
}

function tryV2(mounts: CgroupMounts, rootName: string): Attempt {
  if (mounts.v2 === null) return 'Cgroup v2 is not mounted.';
  const own = parseOwnGroup(readTextIfThere('/proc/self/cgroup') ?? '');
  const reasons: string[] = [];
  for (const baseDirectory of candidates(mounts.v2, own)) {
    const reason = whyNotBase(mounts.v2, baseDirectory, own);
    if (reason !== null) {
      reasons.push(reason);
      continue;
    }
    const cgroup = new CgroupV2({ baseDirectory, rootName });
    try {
      // A group below the root group, for the root group has to hand the controllers down.
      cgroup.create([]);
    } catch (error) {
      reasons.push(`No cgroup v2 group can be made in ${baseDirectory}: ${messageOf(error)}.`);
      continue;
    }
    return {
      cgroup,
      notEnforced: missingV2Controllers(baseDirectory).map((controller) => ({
        what: lossOf[controller] ?? controller,
        why: `The cgroup v2 controller ${controller} is not available in ${baseDirectory}.`,
        solve: `Add ${controller} to the cgroup.subtree_control of the groups above, or to systemd's Delegate=.`,
      })),
    };
  }
  return reasons.join(' ');
}

/** The path in the v2 hierarchy out of /proc/self/cgroup: the line `0::/path`. Exported for its test. */
export function parseOwnGroup(text: string): string {
  return /^0::(.*)$/m.exec(text)?.[1] ?? '/';
}

/**
 * Where a root group could be: the mount point, then the groups around this process from the outermost in; the outer
 * one lasts longer. A service with Delegate=yes owns its own group, a user's session that of user@UID.service.
 */
export function candidates(mount: string, own: string): string[] {
  const found: string[] = [];
  for (let path = own; path !== '/' && path !== '.'; path = dirname(path)) found.unshift(join(mount, path));
  return [mount, ...found];
}

/** Null when Bellows may keep its groups there. */
function whyNotBase(mount: string, baseDirectory: string, own: string): string | null {
  const controllers = readTextIfThere(join(baseDirectory, 'cgroup.controllers')) ?? '';
  if (!controllers.split(' ').includes('memory'))
    return `The cgroup v2 group ${baseDirectory} has no memory controller.`;
  if (!writable(baseDirectory) || !writable(join(baseDirectory, 'cgroup.subtree_control'))) {
    return `The cgroup v2 group ${baseDirectory} is not ours to write.`;
  }
  // To move a process, the group that holds both its old and its new place must be writable (delegation containment).
  const inside = `${join(mount, own)}/`.startsWith(`${baseDirectory}/`) || own === '/';
  if (!inside || !writable(join(baseDirectory, 'cgroup.procs'))) {
    return `Processes can not be moved into ${baseDirectory} from where Bellows runs.`;
  }
  if (baseDirectory !== mount && readPids(join(baseDirectory, 'cgroup.procs')).length > 0) {
    return `The cgroup v2 group ${baseDirectory} has processes of its own, so that it can not hand controllers down.`;
  }
  return null;
}

function writable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
