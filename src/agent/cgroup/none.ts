// No resource groups at all: a laptop without rights, or another system. Groups are lists kept in this process, figures
// are summed over processes out of /proc, and no limit is enforced: `limits` says so by answering null.
// A new agent knows no group until it attaches the processes again.
import { readFileSync } from 'node:fs';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceUsage } from '../../model/instance.ts';
import { childrenOf, identify, isAlive, sendSignal, type ProcessIdentity } from '../../sys/process.ts';
import { flatField, until } from './files.ts';
import { relativePath } from './group-path.ts';
import {
  nobodyTells,
  type Cgroup,
  type CgroupCapabilities,
  type EnforcedLimits,
  type GroupLimits,
  type GroupPath,
  type LimitOutcome,
  type MemoryStrain,
  type MemoryWatch,
} from './port.ts';

/** USER_HZ: what /proc counts CPU time in, 100 on every architecture that Node runs on. */
const microsPerTick = 10_000;
const killTimeoutMs = 10_000;

interface Group {
  /** Those that were attached; what they started is found through /proc. */
  readonly attached: Map<number, ProcessIdentity>;
  /** The highest sum that anybody asked for: nobody watches in between. */
  peakBytes: number;
}

export class CgroupNone implements Cgroup {
  readonly capabilities: CgroupCapabilities = {
    version: 'none',
    memoryLimit: false,
    cpuLimit: false,
    pidsLimit: false,
    freeze: false,
    exactUsage: false,
  };
  /** By path, parents included. */
  readonly #groups = new Map<string, Group>();

  create(group: GroupPath): void {
    for (let depth = 0; depth <= group.length; depth += 1) {
      const key = keyOf(group.slice(0, depth));
      if (!this.#groups.has(key)) this.#groups.set(key, { attached: new Map(), peakBytes: 0 });
    }
  }

  async remove(group: GroupPath): Promise<void> {
    for (const child of this.children(group)) await this.remove([...group, child]);
    // A signalled process needs a moment to be gone.
    await until(() => this.processes(group).length === 0, 100);
    const pids = this.processes(group);
    if (pids.length > 0)
      throw new BellowsError(
        'Conflict',
        `The group ${group.join('/')} still has processes: ${pids.join(', ')}.`,
      );
    this.#groups.delete(keyOf(group));
  }

  children(group: GroupPath): string[] {
    const prefix = `${keyOf(group)}/`;
    return [...this.#groups.keys()]
      .filter((key) => key.startsWith(prefix) && !key.includes('/', prefix.length))
      .map((key) => key.slice(prefix.length));
  }

  attach(group: GroupPath, pid: number): void {
    const target = this.#groups.get(keyOf(group));
    if (target === undefined) throw new BellowsError('NotFound', `There is no group ${group.join('/')}.`);
    const identity = identify(pid);
    if (identity === undefined)
      throw new BellowsError('NotFound', `There is no process ${pid} to put into ${group.join('/')}.`);
    for (const other of this.#groups.values()) other.attached.delete(pid);
    target.attached.set(pid, identity);
  }

  async move(group: GroupPath, pids: readonly number[]): Promise<void> {
    for (const pid of pids) if (identify(pid) !== undefined) this.attach(group, pid);
    await Promise.resolve();
  }

  /** Nothing is slow where nothing is moved. */
  standingMove(): null {
    return null;
  }

  processes(group: GroupPath): number[] {
    return this.#identities(group).map((identity) => identity.pid);
  }

  limits(): EnforcedLimits {
    return { memoryBytes: null, cpuMillicores: null, pids: null };
  }

  setLimits(_group: GroupPath, _limits: GroupLimits): Promise<LimitOutcome> {
    return Promise.resolve('applied');
  }

  usage(group: GroupPath): InstanceUsage {
    const sum = { memoryBytes: 0, cpuTicks: 0, pids: 0, readBytes: 0, writeBytes: 0 };
    for (const identity of this.#subtree(group)) {
      const status = readProc(identity.pid, 'status');
      // What is shared with other processes, such as Node's own text, would be counted once for each.
      sum.memoryBytes += kibOf(status, 'RssAnon') + kibOf(status, 'RssShmem');
      sum.pids += Number(/^Threads:\s+(\d+)/m.exec(status)?.[1] ?? 0);
      const stat = readProc(identity.pid, 'stat');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      sum.cpuTicks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
      const io = readProc(identity.pid, 'io');
      sum.readBytes += flatField(io, 'read_bytes:') ?? 0;
      sum.writeBytes += flatField(io, 'write_bytes:') ?? 0;
    }
    const entry = this.#groups.get(keyOf(group));
    if (entry !== undefined) entry.peakBytes = Math.max(entry.peakBytes, sum.memoryBytes);
    return {
      memoryBytes: sum.memoryBytes,
      workingSetBytes: sum.memoryBytes,
      memoryPeakBytes: entry?.peakBytes ?? 0,
      cpuUsageMicros: sum.cpuTicks * microsPerTick,
      cpuThrottledMicros: 0,
      pids: sum.pids,
      ioReadBytes: sum.readBytes,
      ioWriteBytes: sum.writeBytes,
      oomKills: 0,
    };
  }

  resetPeak(group: GroupPath): void {
    const entry = this.#groups.get(keyOf(group));
    if (entry !== undefined) entry.peakBytes = 0;
  }

  holdOutOfMemory(): void {
    // There is no limit that anybody could run into.
  }

  memoryStrain(group: GroupPath): MemoryStrain {
    return {
      memoryBytes: this.usage(group).memoryBytes,
      limitBytes: null,
      limitHits: 0,
      waiting: false,
      held: false,
    };
  }

  watchMemory(): MemoryWatch {
    return nobodyTells;
  }

  dropCache(): Promise<number> {
    return Promise.resolve(0);
  }

  freeze(): Promise<void> {
    // Stopping processes by signal is seen by their parents and undone by any SIGCONT: it is not offered.
    return Promise.resolve();
  }

  thaw(): Promise<void> {
    return Promise.resolve();
  }

  isFrozen(): boolean {
    return false;
  }

  async kill(group: GroupPath): Promise<void> {
    const emptied = await until(() => {
      const left = this.#subtree(group);
      for (const identity of left) sendSignal(identity, 'SIGKILL');
      return left.length === 0;
    }, killTimeoutMs);
    if (!emptied)
      throw new BellowsError(
        'Unavailable',
        `Processes of ${group.join('/')} did not end within ${killTimeoutMs} ms of SIGKILL.`,
      );
  }

  memoryDirectory(): null {
    return null;
  }

  #subtree(group: GroupPath): ProcessIdentity[] {
    return [
      ...this.#identities(group),
      ...this.children(group).flatMap((child) => this.#subtree([...group, child])),
    ];
  }

  #identities(group: GroupPath): ProcessIdentity[] {
    const entry = this.#groups.get(keyOf(group));
    if (entry === undefined) return [];
    const found = new Map<number, ProcessIdentity>();
    const collect = (identity: ProcessIdentity): void => {
      if (found.has(identity.pid)) return;
      found.set(identity.pid, identity);
      for (const child of childrenOf(identity.pid)) {
        // What was attached elsewhere belongs there, as with the kernel's groups.
        if (!this.#isAttached(child.pid)) collect(child);
      }
    };
    for (const identity of entry.attached.values()) {
      if (isAlive(identity)) {
        collect(identity);
        continue;
      }
      entry.attached.delete(identity.pid);
    }
    return [...found.values()];
  }

  #isAttached(pid: number): boolean {
    for (const group of this.#groups.values()) if (group.attached.has(pid)) return true;
    return false;
  }
}

/** The names are checked as they would be for the kernel. */
function keyOf(group: GroupPath): string {
  return relativePath('root', group);
}

/** Empty when the process has ended, or when its file is not for us to read. */
function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

function kibOf(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
}
