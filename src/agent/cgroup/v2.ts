// Cgroup v2. Owns which file means what, and how controllers are handed down. Where the files are is v2-files.ts's; memory,
// whose limit can not simply be written, is v2-memory.ts's.
//
// Follows the kernel's Documentation/admin-guide/cgroup-v2.rst. Our processes live in leaves only, so the rule against
// processes in inner groups is kept as long as callers attach to groups without children.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
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
  StandingWrite,
  subgroups,
  until,
  writePids,
  writeText,
} from './files.ts';
import { checkGroupName } from './group-path.ts';
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
  type StandingMove,
} from './port.ts';
import { emptyTimeoutMs, freezeTimeoutMs, killAll, killRoundMs, standStill } from './stop-processes.ts';
import { limitOf, V2Files } from './v2-files.ts';
import { V2Memory } from './v2-memory.ts';

/** In the order in which they are handed down. */
const wantedControllers = ['memory', 'cpu', 'pids', 'io'] as const;
export type V2Controller = (typeof wantedControllers)[number];

export class CgroupV2 implements Cgroup {
  readonly capabilities: CgroupCapabilities;
  readonly #files: V2Files;
  readonly #memory: V2Memory;
  readonly #controllers: readonly V2Controller[];

  /**
   * @param options.baseDirectory where the root group is made: the mount point, or a subtree that was delegated to us.
   * It must be the mount point or hold no process itself.
   * @param options.rootName the one group below it that is ours; nothing outside it is touched, but for the base
   * directory's own cgroup.subtree_control.
   */
  constructor(options: { readonly baseDirectory: string; readonly rootName: string }) {
    this.#files = new V2Files(options.baseDirectory, options.rootName);
    this.#memory = new V2Memory(this.#files);
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
    let directory = this.#files.baseDirectory;
    for (const name of [this.#files.rootName, ...group]) {
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
    const directory = this.#files.directory(group);
    const timeoutMs = this.processes(group).length > 0 ? 0 : emptyTimeoutMs;
    if (await until(() => removeDirectory(directory), timeoutMs)) {
      this.#memory.forget(group);
      return;
    }
    const pids = this.processes(group).join(', ');
    throw new BellowsError(
      'Conflict',
      `The resource group ${directory} still has processes: ${pids || 'some that are ending'}.`,
    );
  }

  children(group: GroupPath): string[] {
    return subgroups(this.#files.directory(group));
  }

  attach(group: GroupPath, pid: number): void {
    writeText(join(this.#files.directory(group), 'cgroup.procs'), String(pid));
  }

  async move(group: GroupPath, pids: readonly number[]): Promise<void> {
    await writePids([join(this.#files.directory(group), 'cgroup.procs')], pids);
  }

  standingMove(group: GroupPath): StandingMove | null {
    return StandingWrite.open(join(this.#files.directory(group), 'cgroup.procs'));
  }

  processes(group: GroupPath): number[] {
    return readPids(join(this.#files.directory(group), 'cgroup.procs'));
  }

  limits(group: GroupPath): EnforcedLimits {
    return {
      memoryBytes: this.#memory.limit(group),
      cpuMillicores: parseCpuMax(this.#files.read(group, 'cpu.max')),
      pids: limitOf(this.#files.read(group, 'pids.max')),
    };
  }

  async setLimits(group: GroupPath, limits: GroupLimits): Promise<LimitOutcome> {
    const { memoryBytes, cpuMillicores } = limits;
    if (memoryBytes !== undefined && memoryBytes !== null && this.#memory.isInUse(group, memoryBytes))
      return 'busy';
    // What is to be put back when memory is busy after all.
    const before = this.limits(group);
    if (cpuMillicores !== undefined) this.#writeCpu(group, cpuMillicores);
    if (limits.cpuWeight !== undefined)
      this.#files.write(group, 'cpu.weight', String(clampWeight(limits.cpuWeight)));
    if (limits.pids !== undefined) this.#files.write(group, 'pids.max', String(limits.pids ?? 'max'));
    if (
      memoryBytes === undefined ||
      (await this.#writeMemory(group, before.memoryBytes, memoryBytes)) === 'applied'
    ) {
      return 'applied';
    }
    if (cpuMillicores !== undefined) this.#writeCpu(group, before.cpuMillicores);
    if (limits.pids !== undefined) this.#files.write(group, 'pids.max', String(before.pids ?? 'max'));
    return 'busy';
  }

  /** Without memory.peak (before 5.19) the peak is the present charge: the kernel keeps none. */
  usage(group: GroupPath): InstanceUsage {
    const memoryBytes = this.#memory.charged(group);
    const cpu = this.#files.read(group, 'cpu.stat') ?? '';
    const io = this.#files.read(group, 'io.stat') ?? '';
    return {
      memoryBytes,
      workingSetBytes: this.#memory.workingSet(group, memoryBytes),
      memoryPeakBytes: Number(this.#files.read(group, 'memory.peak') ?? memoryBytes),
      cpuUsageMicros: flatField(cpu, 'usage_usec') ?? 0,
      cpuThrottledMicros: flatField(cpu, 'throttled_usec') ?? 0,
      pids: Number(this.#files.read(group, 'pids.current') ?? this.processes(group).length),
      ioReadBytes: sumOfDevices(io, 'rbytes'),
      ioWriteBytes: sumOfDevices(io, 'wbytes'),
      oomKills: flatField(this.#files.read(group, 'memory.events') ?? '', 'oom_kill') ?? 0,
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
    this.#memory.hold(group, held);
  }

  memoryStrain(group: GroupPath): MemoryStrain {
    return this.#memory.strain(group);
  }

  watchMemory(group: GroupPath, _nearBytes: number | null, onNear: () => void): MemoryWatch {
    return this.capabilities.memoryLimit ? this.#memory.watch(group, onNear) : nobodyTells;
  }

  dropCache(group: GroupPath): Promise<number> {
    return this.#memory.dropCache(group);
  }

  async freeze(group: GroupPath): Promise<void> {
    const set = (frozen: boolean): void => this.#files.write(group, 'cgroup.freeze', frozen ? '1' : '0');
    await standStill(group, {
      freeze: () => set(true),
      isFrozen: () => this.isFrozen(group),
      thaw: () => set(false),
    });
  }

  async thaw(group: GroupPath): Promise<void> {
    this.#files.write(group, 'cgroup.freeze', '0');
    await until(() => !this.isFrozen(group), freezeTimeoutMs);
  }

  isFrozen(group: GroupPath): boolean {
    return flatField(this.#files.read(group, 'cgroup.events') ?? '', 'frozen') === 1;
  }

  async kill(group: GroupPath): Promise<void> {
    if (this.#files.read(group, 'cgroup.procs') === undefined) return;
    await killAll(group, {
      subtree: () => this.#subtree(group),
      processes: (each) => this.processes(each),
      strike: async (groups) => {
        try {
          // Frozen processes die of it as they are, and forks do not escape.
          writeText(join(this.#files.directory(group), 'cgroup.kill'), '1');
        } catch (error) {
          if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
          await this.#killOneByOne(group, groups);
        }
      },
    });
  }

  memoryDirectory(group: GroupPath): string | null {
    return this.capabilities.memoryLimit ? this.#files.directory(group) : null;
  }

  /** Where the kernel has no cgroup.kill (before 5.14). */
  async #killOneByOne(group: GroupPath, groups: readonly GroupPath[]): Promise<void> {
    this.#files.write(group, 'cgroup.freeze', '1');
    await until(() => this.isFrozen(group), killRoundMs);
    for (const pid of groups.flatMap((each) => this.processes(each))) killProcess(pid);
    for (const each of groups) this.#files.write(each, 'cgroup.freeze', '0');
  }

  #subtree(group: GroupPath): GroupPath[] {
    return [group, ...this.children(group).flatMap((child) => this.#subtree([...group, child]))];
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
    this.#files.write(group, 'cpu.max', `${quota} ${cpuPeriodMicros}`);
  }

  async #writeMemory(
    group: GroupPath,
    beforeBytes: number | null,
    bytes: number | null,
  ): Promise<LimitOutcome> {
    if (!this.capabilities.memoryLimit) return 'applied';
    return this.#memory.writeLimit(group, beforeBytes, bytes, async (action) => {
      const wasFrozen = this.isFrozen(group);
      if (!wasFrozen) await this.freeze(group);
      try {
        return action();
      } finally {
        if (!wasFrozen) await this.thaw(group);
      }
    });
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
