// Cgroup v1. Owns which file means what, and the order of writes that v1 asks for. Where the files are is v1-files.ts's; a
// controller that is not mounted is left out and shows in the capabilities.
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceUsage } from '../../model/instance.ts';
import { cpuPeriodMicros, millicoresOf, quotaMicros, sharesOf } from './cpu-units.ts';
import {
  flatField,
  hasCode,
  killProcess,
  readNumber,
  readPids,
  removeDirectory,
  StandingWrite,
  subgroups,
  until,
  writePids,
  writeText,
  writeTextOnThread,
} from './files.ts';
import { v1Controllers, type V1Controller, type V1Mounts } from './mounts.ts';
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
import { emptyTimeoutMs, killAll, killRoundMs, standStill } from './stop-processes.ts';
import { dropCache } from './v1-empty.ts';
import { V1Files } from './v1-files.ts';
import { watchV1Memory } from './v1-watch.ts';

/** "No limit" reads as the largest whole number of pages in 63 bits; no machine has half of that. */
const unlimitedBytes = 2 ** 62;
export class CgroupV1 implements Cgroup {
  readonly capabilities: CgroupCapabilities;
  readonly #files: V1Files;

  /** @param rootName the one group below each mount point that is ours; nothing outside it is ever touched. */
  constructor(options: { readonly mounts: V1Mounts; readonly rootName: string }) {
    this.#files = new V1Files(options.mounts, options.rootName);
    const has = (controller: V1Controller): boolean => options.mounts.has(controller);
    this.capabilities = {
      version: 'v1',
      memoryLimit: has('memory'),
      cpuLimit: has('cpu'),
      pidsLimit: has('pids'),
      freeze: has('freezer'),
      exactUsage: has('memory') && has('cpuacct'),
    };
  }

  create(group: GroupPath): void {
    // Not one recursive call: the new directory's own settings are set as it is made.
    for (let depth = 0; depth <= group.length; depth += 1) this.#files.make(group.slice(0, depth));
  }

  async remove(group: GroupPath): Promise<void> {
    for (const child of this.children(group)) await this.remove([...group, child]);
    for (const directory of this.#files.directories(group)) {
      // EBUSY also stands for a process that is past its end but not yet out of the group.
      const gone = await until(
        () => removeDirectory(directory),
        readPids(join(directory, 'cgroup.procs')).length > 0 ? 0 : emptyTimeoutMs,
      );
      if (!gone) {
        const pids = this.processes(group);
        throw new BellowsError(
          'Conflict',
          `The resource group ${directory} still has processes: ${pids.join(', ') || 'some that are ending'}.`,
        );
      }
    }
  }

  children(group: GroupPath): string[] {
    // All hierarchies, because whoever made or removed a group may have died half way.
    return [...new Set(this.#files.directories(group).flatMap(subgroups))];
  }

  attach(group: GroupPath, pid: number): void {
    for (const directory of this.#files.directories(group))
      writeText(join(directory, 'cgroup.procs'), String(pid));
  }

  async move(group: GroupPath, pids: readonly number[]): Promise<void> {
    await writePids(
      this.#files.directories(group).map((directory) => join(directory, 'cgroup.procs')),
      pids,
    );
  }

  standingMove(group: GroupPath): StandingMove | null {
    const [directory] = this.#files.directories(group);
    // One hierarchy is enough: what is slow is common to all.
    return directory === undefined ? null : StandingWrite.open(join(directory, 'cgroup.procs'));
  }

  processes(group: GroupPath): number[] {
    return [
      ...new Set(
        this.#files.directories(group).flatMap((directory) => readPids(join(directory, 'cgroup.procs'))),
      ),
    ];
  }

  limits(group: GroupPath): EnforcedLimits {
    const pids = this.#files.read('pids', group, 'pids.max');
    return {
      memoryBytes: this.#memoryLimit(group),
      cpuMillicores: this.#cpuLimit(group),
      pids: pids === undefined || pids === 'max' ? null : Number(pids),
    };
  }

  /**
   * v1 keeps a child's CPU quota at or below its parent's: raise parents first, lower children first.
   * @throws BellowsError Infeasible when the order does not allow a quota; nothing is changed then.
   */
  async setLimits(group: GroupPath, limits: GroupLimits): Promise<LimitOutcome> {
    const { memoryBytes, cpuMillicores } = limits;
    if (memoryBytes !== undefined && memoryBytes !== null && this.#isInUse(group, memoryBytes)) return 'busy';
    const alone = cpuMillicores === undefined && limits.pids === undefined;
    // To be put back when memory turns out to be busy after all.
    const before = memoryBytes === undefined || alone ? null : this.limits(group);
    if (cpuMillicores !== undefined) this.#writeCpu(group, cpuMillicores);
    if (limits.cpuWeight !== undefined)
      this.#files.write('cpu', group, 'cpu.shares', String(sharesOf(limits.cpuWeight)));
    if (limits.pids !== undefined) this.#files.write('pids', group, 'pids.max', String(limits.pids ?? 'max'));
    if (memoryBytes === undefined || (await this.#writeMemory(group, memoryBytes)) === 'applied')
      return 'applied';
    if (before === null) return 'busy';
    if (cpuMillicores !== undefined) this.#writeCpu(group, before.cpuMillicores);
    if (limits.pids !== undefined) this.#files.write('pids', group, 'pids.max', String(before.pids ?? 'max'));
    return 'busy';
  }

  usage(group: GroupPath): InstanceUsage {
    const memoryBytes = Number(this.#files.read('memory', group, 'memory.usage_in_bytes') ?? 0);
    const inactiveFileBytes =
      flatField(this.#files.read('memory', group, 'memory.stat') ?? '', 'total_inactive_file') ?? 0;
    const io = this.#files.read('blkio', group, 'blkio.throttle.io_service_bytes') ?? '';
    return {
      memoryBytes,
      workingSetBytes: Math.max(0, memoryBytes - inactiveFileBytes),
      memoryPeakBytes: Number(this.#files.read('memory', group, 'memory.max_usage_in_bytes') ?? 0),
      cpuUsageMicros: Math.round(Number(this.#files.read('cpuacct', group, 'cpuacct.usage') ?? 0) / 1000),
      cpuThrottledMicros: Math.round(
        (flatField(this.#files.read('cpu', group, 'cpu.stat') ?? '', 'throttled_time') ?? 0) / 1000,
      ),
      pids: Number(this.#files.read('pids', group, 'pids.current') ?? 0),
      // The group's own only, and without what the kernel writes back later: v1 charges that to nobody.
      ioReadBytes: sumOfDevices(io, 'Read'),
      ioWriteBytes: sumOfDevices(io, 'Write'),
      oomKills: flatField(this.#files.read('memory', group, 'memory.oom_control') ?? '', 'oom_kill') ?? 0,
    };
  }

  resetPeak(group: GroupPath): void {
    this.#files.write('memory', group, 'memory.max_usage_in_bytes', '0');
  }

  holdOutOfMemory(group: GroupPath, held: boolean): void {
    this.#files.write('memory', group, 'memory.oom_control', held ? '1' : '0');
  }

  memoryStrain(group: GroupPath): MemoryStrain {
    const control = this.#files.read('memory', group, 'memory.oom_control') ?? '';
    return {
      memoryBytes: Number(this.#files.read('memory', group, 'memory.usage_in_bytes') ?? 0),
      limitBytes: this.#memoryLimit(group),
      limitHits: Number(this.#files.read('memory', group, 'memory.failcnt') ?? 0),
      waiting: flatField(control, 'under_oom') === 1,
      held: flatField(control, 'oom_kill_disable') === 1,
    };
  }

  watchMemory(group: GroupPath, nearBytes: number | null, onNear: () => void): MemoryWatch {
    const directory = this.#files.directory('memory', group);
    return directory === null ? nobodyTells : watchV1Memory(directory, nearBytes, onNear);
  }

  dropCache(group: GroupPath): Promise<number> {
    const directory = this.#files.directory('memory', group);
    return directory === null ? Promise.resolve(0) : dropCache(directory);
  }

  async freeze(group: GroupPath): Promise<void> {
    if (!this.capabilities.freeze) return;
    const set = (state: 'FROZEN' | 'THAWED'): void =>
      this.#files.write('freezer', group, 'freezer.state', state);
    await standStill(group, {
      freeze: () => set('FROZEN'),
      isFrozen: () => this.isFrozen(group),
      thaw: () => set('THAWED'),
    });
  }

  async thaw(group: GroupPath): Promise<void> {
    this.#files.write('freezer', group, 'freezer.state', 'THAWED');
    await Promise.resolve();
  }

  isFrozen(group: GroupPath): boolean {
    return this.#files.read('freezer', group, 'freezer.state') === 'FROZEN';
  }

  async kill(group: GroupPath): Promise<void> {
    await killAll(group, {
      subtree: () => this.#subtree(group),
      processes: (each) => this.processes(each),
      strike: async (groups) => {
        // One that waits at its memory limit could not freeze.
        for (const each of groups) this.holdOutOfMemory(each, false);
        if (this.capabilities.freeze) {
          // Frozen processes can not fork, so none escapes between the list and the signals; they die as they thaw.
          this.#files.write('freezer', group, 'freezer.state', 'FROZEN');
          await until(() => this.isFrozen(group), killRoundMs);
        }
        for (const pid of groups.flatMap((each) => this.processes(each))) killProcess(pid);
        for (const each of groups) this.#files.write('freezer', each, 'freezer.state', 'THAWED');
      },
    });
  }

  memoryDirectory(group: GroupPath): string | null {
    return this.#files.directory('memory', group);
  }

  /** The group and all below it, deepest last. */
  #subtree(group: GroupPath): GroupPath[] {
    return [group, ...this.children(group).flatMap((child) => this.#subtree([...group, child]))];
  }

  /** Whether more than `bytes` is charged that can not simply be dropped; the dearer file is read only when it matters. */
  #isInUse(group: GroupPath, bytes: number): boolean {
    const chargedBytes = Number(this.#files.read('memory', group, 'memory.usage_in_bytes') ?? 0);
    return bytes < chargedBytes && bytes < this.usage(group).workingSetBytes;
  }

  #memoryLimit(group: GroupPath): number | null {
    const bytes = Number(this.#files.read('memory', group, 'memory.limit_in_bytes') ?? unlimitedBytes);
    return bytes >= unlimitedBytes ? null : bytes;
  }

  #cpuLimit(group: GroupPath): number | null {
    const quota = Number(this.#files.read('cpu', group, 'cpu.cfs_quota_us') ?? -1);
    if (quota < 0) return null;
    return millicoresOf(
      quota,
      Number(this.#files.read('cpu', group, 'cpu.cfs_period_us') ?? cpuPeriodMicros),
    );
  }

  #writeCpu(group: GroupPath, millicores: number | null): void {
    try {
      if (
        millicores !== null &&
        Number(this.#files.read('cpu', group, 'cpu.cfs_period_us')) !== cpuPeriodMicros
      ) {
        this.#files.write('cpu', group, 'cpu.cfs_period_us', String(cpuPeriodMicros));
      }
      this.#files.write(
        'cpu',
        group,
        'cpu.cfs_quota_us',
        String(millicores === null ? -1 : quotaMicros(millicores)),
      );
    } catch (error) {
      if (!hasCode(error, 'EINVAL')) throw error;
      const asked = millicores === null ? 'no CPU limit' : `${millicores}m of CPU`;
      throw new BellowsError(
        'Infeasible',
        `The kernel refused ${asked} for ${group.join('/')}: it is above the group that holds it, or below a group inside it.`,
        'Raise the outer limit first, or lower the inner limits first.',
        { cause: error },
      );
    }
  }

  async #writeMemory(group: GroupPath, bytes: number | null): Promise<LimitOutcome> {
    const directory = this.#files.directory('memory', group);
    if (directory === null) return 'applied';
    const file = join(directory, 'memory.limit_in_bytes');
    const text = String(bytes ?? -1);
    try {
      // Below what is charged the kernel reclaims before it answers, up to a tenth of a second: that goes to a thread.
      if (bytes !== null && bytes < readNumber(join(directory, 'memory.usage_in_bytes'))) {
        await writeTextOnThread(file, text);
      } else {
        writeText(file, text);
      }
      return 'applied';
    } catch (error) {
      if (hasCode(error, 'EBUSY', 'EINTR')) return 'busy';
      throw error;
    }
  }
}

/** Lines of `major:minor Operation bytes`; the line of totals has one field less. */
function sumOfDevices(text: string, operation: 'Read' | 'Write'): number {
  let sum = 0;
  for (const line of text.split('\n')) {
    const [, name, bytes] = line.split(' ');
    if (name === operation) sum += Number(bytes);
  }
  return sum;
}

/** The controllers of a list that are not mounted, in the order of {@link v1Controllers}. */
export function missingControllers(mounts: V1Mounts): V1Controller[] {
  return v1Controllers.filter((controller) => !mounts.has(controller));
}
