// Cgroup v2: one directory of a group in the one hierarchy. Owns which file means what, how controllers are handed down,
// and how a memory limit is lowered without the kernel's killing for it, as v2's own write of memory.max would.
//
// Follows the kernel's Documentation/admin-guide/cgroup-v2.rst. Our processes live in leaves only, so the rule against
// processes in inner groups is kept as long as callers attach to groups without children.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import { kib } from '../../base/quantity.ts';
import type { InstanceUsage } from '../../model/instance.ts';
import { clampWeight, cpuPeriodMicros, millicoresOf, quotaMicros } from './cpu-units.ts';
import {
  flatField,
  hasCode,
  killProcess,
  readPids,
  readText,
  readTextIfThere,
  removeDirectory,
  subgroups,
  until,
  writePids,
  writeText,
  writeTextOnThread,
} from './files.ts';
import { checkGroupName, relativePath } from './group-path.ts';
import type {
  Cgroup,
  CgroupCapabilities,
  EnforcedLimits,
  GroupLimits,
  GroupPath,
  LimitOutcome,
  MemoryStrain,
} from './port.ts';

/** In the order in which they are handed down. */
const wantedControllers = ['memory', 'cpu', 'pids', 'io'] as const;
export type V2Controller = (typeof wantedControllers)[number];

const freezeTimeoutMs = 10_000;
const emptyTimeoutMs = 10_000;
/** How long one round of killing waits before it begins anew, where the kernel has no cgroup.kill (before 5.14). */
const killRoundMs = 200;
/**
 * While a limit is held, memory.high stands this far below it: the kernel slows an allocating process down from there
 * on, up to 2 s for each allocation, which is time enough for the limit to be taken back.
 */
const holdMarginBytes = 4096 * kib;

export class CgroupV2 implements Cgroup {
  readonly capabilities: CgroupCapabilities;
  readonly #baseDirectory: string;
  readonly #rootName: string;
  readonly #controllers: readonly V2Controller[];

  /**
   * @param options.baseDirectory where the root group is made: the mount point, or a subtree that was delegated to us.
   * It must be the mount point or hold no process itself.
   * @param options.rootName the one group below it that is ours; nothing outside it is touched, but for the base
   * directory's own cgroup.subtree_control.
   */
  constructor(options: { readonly baseDirectory: string; readonly rootName: string }) {
    this.#baseDirectory = options.baseDirectory;
    this.#rootName = checkGroupName(options.rootName);
    this.#controllers = offeredControllers(options.baseDirectory);
    const has = (controller: V2Controller): boolean => this.#controllers.includes(controller);
    this.capabilities = {
      version: 'v2',
      memoryLimit: has('memory'),
      cpuLimit: has('cpu'),
      pidsLimit: has('pids'),
      freeze: true,
      exactUsage: has('memory'),
    };
  }

  create(group: GroupPath): void {
    let directory = this.#baseDirectory;
    for (const name of [this.#rootName, ...group]) {
      this.#handDown(directory);
      directory = join(directory, checkGroupName(name));
      try {
        mkdirSync(directory);
      } catch (error) {
        if (!hasCode(error, 'EEXIST')) throw error;
      }
    }
  }

  async remove(group: GroupPath): Promise<void> {
    for (const child of this.children(group)) await this.remove([...group, child]);
    const directory = this.#directory(group);
    const timeoutMs = this.processes(group).length > 0 ? 0 : emptyTimeoutMs;
    if (await until(() => removeDirectory(directory), timeoutMs)) return;
    const pids = this.processes(group).join(', ');
    throw new BellowsError(
      'Conflict',
      `The resource group ${directory} still has processes: ${pids || 'some that are ending'}.`,
    );
  }

  children(group: GroupPath): string[] {
    return subgroups(this.#directory(group));
  }

  attach(group: GroupPath, pid: number): void {
    writeText(join(this.#directory(group), 'cgroup.procs'), String(pid));
  }

  async move(group: GroupPath, pids: readonly number[]): Promise<void> {
    await writePids([join(this.#directory(group), 'cgroup.procs')], pids);
  }

  async warmMoves(group: GroupPath): Promise<void> {
    await this.move(group, this.processes(group).slice(0, 1));
  }

  processes(group: GroupPath): number[] {
    return readPids(join(this.#directory(group), 'cgroup.procs'));
  }

  limits(group: GroupPath): EnforcedLimits {
    return {
      memoryBytes: limitOf(this.#read(group, 'memory.max')),
      cpuMillicores: parseCpuMax(this.#read(group, 'cpu.max')),
      pids: limitOf(this.#read(group, 'pids.max')),
    };
  }

  async setLimits(group: GroupPath, limits: GroupLimits): Promise<LimitOutcome> {
    const { memoryBytes, cpuMillicores } = limits;
    if (memoryBytes !== undefined && memoryBytes !== null && this.#isInUse(group, memoryBytes)) return 'busy';
    // What is to be put back when memory is busy after all.
    const before = this.limits(group);
    if (cpuMillicores !== undefined) this.#writeCpu(group, cpuMillicores);
    if (limits.cpuWeight !== undefined)
      this.#write(group, 'cpu.weight', String(clampWeight(limits.cpuWeight)));
    if (limits.pids !== undefined) this.#write(group, 'pids.max', String(limits.pids ?? 'max'));
    if (
      memoryBytes === undefined ||
      (await this.#writeMemory(group, before.memoryBytes, memoryBytes)) === 'applied'
    ) {
      return 'applied';
    }
    if (cpuMillicores !== undefined) this.#writeCpu(group, before.cpuMillicores);
    if (limits.pids !== undefined) this.#write(group, 'pids.max', String(before.pids ?? 'max'));
    return 'busy';
  }

  /** Without memory.peak (before 5.19) the peak is the present charge: the kernel keeps none. */
  usage(group: GroupPath): InstanceUsage {
    const memoryBytes = this.#memory(group);
    const inactiveFileBytes = flatField(this.#read(group, 'memory.stat') ?? '', 'inactive_file') ?? 0;
    const cpu = this.#read(group, 'cpu.stat') ?? '';
    const io = this.#read(group, 'io.stat') ?? '';
    return {
      memoryBytes,
      workingSetBytes: Math.max(0, memoryBytes - inactiveFileBytes),
      memoryPeakBytes: Number(this.#read(group, 'memory.peak') ?? memoryBytes),
      cpuUsageMicros: flatField(cpu, 'usage_usec') ?? 0,
      cpuThrottledMicros: flatField(cpu, 'throttled_usec') ?? 0,
      pids: Number(this.#read(group, 'pids.current') ?? this.processes(group).length),
      ioReadBytes: sumOfDevices(io, 'rbytes'),
      ioWriteBytes: sumOfDevices(io, 'wbytes'),
      oomKills: flatField(this.#read(group, 'memory.events') ?? '', 'oom_kill') ?? 0,
    };
  }

  /**
   * Does nothing: before 6.12 memory.peak can not be reset, and since then only for the descriptor that was written to,
   * which does not outlive its process. The peak is that of the group's life.
   */
  resetPeak(): void {
    // The kernel keeps what it has seen.
  }

  holdOutOfMemory(group: GroupPath, held: boolean): void {
    const limit = held ? limitOf(this.#read(group, 'memory.max')) : null;
    const text = limit === null ? 'max' : String(Math.max(0, limit - holdMarginBytes));
    this.#write(group, 'memory.high', text);
  }

  memoryStrain(group: GroupPath): MemoryStrain {
    const events = this.#read(group, 'memory.events') ?? '';
    return {
      memoryBytes: this.#memory(group),
      limitBytes: limitOf(this.#read(group, 'memory.max')),
      limitHits: (flatField(events, 'high') ?? 0) + (flatField(events, 'max') ?? 0),
      waiting: false,
      held: this.#isHeld(group),
    };
  }

  async dropCache(group: GroupPath): Promise<number> {
    const beforeBytes = this.#memory(group);
    const stat = this.#read(group, 'memory.stat') ?? '';
    const cacheBytes = (flatField(stat, 'inactive_file') ?? 0) + (flatField(stat, 'active_file') ?? 0);
    await this.#reclaim(group, cacheBytes);
    return Math.max(0, beforeBytes - this.#memory(group));
  }

  async freeze(group: GroupPath): Promise<void> {
    this.#write(group, 'cgroup.freeze', '1');
    if (await until(() => this.isFrozen(group), freezeTimeoutMs)) return;
    this.#write(group, 'cgroup.freeze', '0');
    throw new BellowsError(
      'Unavailable',
      `Processes of ${group.join('/')} did not stand still within ${freezeTimeoutMs} ms, so they were let go on.`,
    );
  }

  async thaw(group: GroupPath): Promise<void> {
    this.#write(group, 'cgroup.freeze', '0');
    await until(() => !this.isFrozen(group), freezeTimeoutMs);
  }

  isFrozen(group: GroupPath): boolean {
    return flatField(this.#read(group, 'cgroup.events') ?? '', 'frozen') === 1;
  }

  async kill(group: GroupPath): Promise<void> {
    const startedMs = performance.now();
    for (;;) {
      const groups = this.#subtree(group);
      if (this.#read(group, 'cgroup.procs') === undefined) return;
      try {
        // Frozen processes die of it as they are, and forks do not escape.
        writeText(join(this.#directory(group), 'cgroup.kill'), '1');
      } catch (error) {
        if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
        await this.#killOneByOne(group, groups);
      }
      const empty = (): boolean => groups.every((each) => this.processes(each).length === 0);
      if (await until(empty, killRoundMs)) return;
      if (performance.now() - startedMs > emptyTimeoutMs) break;
    }
    throw new BellowsError(
      'Unavailable',
      `Processes of ${group.join('/')} did not end within ${emptyTimeoutMs} ms of SIGKILL.`,
    );
  }

  memoryDirectory(group: GroupPath): string | null {
    return this.capabilities.memoryLimit ? this.#directory(group) : null;
  }

  async #killOneByOne(group: GroupPath, groups: readonly GroupPath[]): Promise<void> {
    this.#write(group, 'cgroup.freeze', '1');
    await until(() => this.isFrozen(group), killRoundMs);
    for (const pid of groups.flatMap((each) => this.processes(each))) killProcess(pid);
    for (const each of groups) this.#write(each, 'cgroup.freeze', '0');
  }

  #subtree(group: GroupPath): GroupPath[] {
    return [group, ...this.children(group).flatMap((child) => this.#subtree([...group, child]))];
  }

  #directory(group: GroupPath): string {
    return `${this.#baseDirectory}/${relativePath(this.#rootName, group)}`;
  }

  #read(group: GroupPath, file: string): string | undefined {
    return readTextIfThere(`${this.#directory(group)}/${file}`);
  }

  /** Does nothing without the file: its controller is missing, or the group has ended. */
  #write(group: GroupPath, file: string, text: string): void {
    try {
      writeText(`${this.#directory(group)}/${file}`, text);
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
    }
  }

  /** Whether more than `bytes` is charged that can not simply be dropped; the dearer file is read only when it matters. */
  #isInUse(group: GroupPath, bytes: number): boolean {
    return bytes < this.#memory(group) && bytes < this.usage(group).workingSetBytes;
  }

  /** Nothing but a hold sets memory.high. */
  #isHeld(group: GroupPath): boolean {
    return (this.#read(group, 'memory.high') ?? 'max') !== 'max';
  }

  #memory(group: GroupPath): number {
    return Number(this.#read(group, 'memory.current') ?? 0);
  }

  /** Makes the controllers available to the children of `directory`, those that are not yet. */
  #handDown(directory: string): void {
    const file = join(directory, 'cgroup.subtree_control');
    const enabled = readText(file).split(' ');
    const missing = this.#controllers.filter((controller) => !enabled.includes(controller));
    if (missing.length > 0) writeText(file, missing.map((controller) => `+${controller}`).join(' '));
  }

  #writeCpu(group: GroupPath, millicores: number | null): void {
    const quota = millicores === null ? 'max' : String(quotaMicros(millicores));
    this.#write(group, 'cpu.max', `${quota} ${cpuPeriodMicros}`);
  }

  /**
   * The kernel sets memory.max at once, reclaims, and kills when that is not enough. So a lower one is written only over
   * processes that stand still, after the charge has been seen below it.
   */
  async #writeMemory(
    group: GroupPath,
    beforeBytes: number | null,
    bytes: number | null,
  ): Promise<LimitOutcome> {
    if (!this.capabilities.memoryLimit) return 'applied';
    const held = this.#isHeld(group);
    const write = (): LimitOutcome => {
      this.#write(group, 'memory.max', String(bytes ?? 'max'));
      // The hold moves with the limit.
      if (held) this.holdOutOfMemory(group, true);
      return 'applied';
    };
    if (bytes === null || (beforeBytes !== null && bytes >= beforeBytes)) return write();
    const excessBytes = this.#memory(group) - bytes;
    if (excessBytes > 0) await this.#reclaim(group, excessBytes);
    const wasFrozen = this.isFrozen(group);
    if (!wasFrozen) await this.freeze(group);
    try {
      return this.#memory(group) > bytes ? 'busy' : write();
    } finally {
      if (!wasFrozen) await this.thaw(group);
    }
  }

  /** Asks the kernel to take `bytes` back, cache first; how much it could is seen in memory.current. */
  async #reclaim(group: GroupPath, bytes: number): Promise<void> {
    if (bytes <= 0) return;
    try {
      // On a thread: it takes as long as the walk through the pages does.
      await writeTextOnThread(join(this.#directory(group), 'memory.reclaim'), String(bytes));
    } catch (error) {
      // EAGAIN: less than asked could be had.
      if (hasCode(error, 'EAGAIN', 'EINTR', 'ENODEV')) return;
      if (!hasCode(error, 'ENOENT')) throw error;
      await this.#reclaimByHigh(group, bytes);
    }
  }

  /** For kernels before 5.19: writing memory.high reclaims down to it, and is undone at once. */
  async #reclaimByHigh(group: GroupPath, bytes: number): Promise<void> {
    const file = join(this.#directory(group), 'memory.high');
    const before = readTextIfThere(file);
    if (before === undefined) return;
    try {
      await writeTextOnThread(file, String(Math.max(0, this.#memory(group) - bytes)));
    } finally {
      this.#write(group, 'memory.high', before);
    }
  }
}

/** The wanted controllers that a directory can hand down. */
export function offeredControllers(directory: string): V2Controller[] {
  const offered = (readTextIfThere(join(directory, 'cgroup.controllers')) ?? '').split(' ');
  return wantedControllers.filter((controller) => offered.includes(controller));
}

/** The wanted controllers that a directory can not hand down. */
export function missingV2Controllers(directory: string): V2Controller[] {
  const offered = offeredControllers(directory);
  return wantedControllers.filter((controller) => !offered.includes(controller));
}

/** "max" is no limit, and so is a file that is not there. */
function limitOf(text: string | undefined): number | null {
  return text === undefined || text === 'max' ? null : Number(text);
}

/** `QUOTA PERIOD` in microseconds, the quota being `max` for none. */
export function parseCpuMax(text: string | undefined): number | null {
  const [quota, period] = (text ?? 'max').split(' ');
  if (quota === undefined || quota === 'max') return null;
  return millicoresOf(Number(quota), Number(period ?? cpuPeriodMicros));
}

/** Lines of `major:minor rbytes=N wbytes=N …`. */
export function sumOfDevices(text: string, key: 'rbytes' | 'wbytes'): number {
  let sum = 0;
  for (const match of text.matchAll(new RegExp(`\\b${key}=(\\d+)`, 'g'))) sum += Number(match[1]);
  return sum;
}
