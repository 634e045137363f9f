// A group's memory under v2: what is charged, what can be taken back, and how a limit is lowered without the kernel's
// killing for it, as v2's own write of memory.max would. Owns the memory.* files; processes stand still by its caller's doing.
import { watch } from 'node:fs';
import { join } from 'node:path';
import { kib } from '../../base/quantity.ts';
import { flatField, hasCode, readTextIfThere, writeTextOnThread } from './files.ts';
import {
  nobodyTells,
  type GroupPath,
  type LimitOutcome,
  type MemoryStrain,
  type MemoryWatch,
} from './port.ts';
import { limitOf, type V2Files } from './v2-files.ts';

/**
 * While a limit is held, memory.high stands this far below it: the kernel slows an allocating process down from there
 * on, up to 2 s for each allocation, which is time enough for the limit to be taken back.
 */
const holdMarginBytes = 4096 * kib;

/**
 * The hold of a group that has no limit: nothing ever comes so far, and the limit that is written next is held from its
 * first moment. Any number would do that the kernel does not show as `max`.
 */
const holdWithoutLimitBytes = 2 ** 60;

/** Runs `action` while no process of the group can allocate. */
export type WhileStill = (action: () => LimitOutcome) => Promise<LimitOutcome>;

export class V2Memory {
  readonly #files: V2Files;

  constructor(files: V2Files) {
    this.#files = files;
  }

  charged(group: GroupPath): number {
    return Number(this.#files.read(group, 'memory.current') ?? 0);
  }

  limit(group: GroupPath): number | null {
    return limitOf(this.#files.read(group, 'memory.max'));
  }

  /** Charged less the file cache that the kernel would drop first. @param chargedBytes as it was just read */
  workingSet(group: GroupPath, chargedBytes: number): number {
    const stat = this.#files.read(group, 'memory.stat') ?? '';
    return Math.max(0, chargedBytes - (flatField(stat, 'inactive_file') ?? 0));
  }

  /** Whether more than `bytes` is charged that can not simply be dropped; the dearer file is read only when it matters. */
  isInUse(group: GroupPath, bytes: number): boolean {
    const chargedBytes = this.charged(group);
    return bytes < chargedBytes && bytes < this.workingSet(group, chargedBytes);
  }

  hold(group: GroupPath, held: boolean): void {
    const limit = this.limit(group);
    const holdBytes = limit === null ? holdWithoutLimitBytes : Math.max(0, limit - holdMarginBytes);
    this.#files.write(group, 'memory.high', held ? String(holdBytes) : 'max');
  }

  strain(group: GroupPath): MemoryStrain {
    const events = this.#files.read(group, 'memory.events') ?? '';
    return {
      memoryBytes: this.charged(group),
      limitBytes: this.limit(group),
      limitHits: (flatField(events, 'high') ?? 0) + (flatField(events, 'max') ?? 0),
      waiting: false,
      held: this.#isHeld(group),
    };
  }

  /** The kernel tells of changes of this file: a hold's margin was reached, or the limit. */
  watch(group: GroupPath, onNear: () => void): MemoryWatch {
    try {
      const watcher = watch(join(this.#files.directory(group), 'memory.events'), onNear);
      // The group is gone, and with it what could be told.
      watcher.on('error', () => watcher.close());
      return { tells: Promise.resolve(true), stop: () => watcher.close() };
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENODEV', 'ENOSPC', 'EMFILE')) return nobodyTells;
      throw error;
    }
  }

  /** @returns the bytes that were freed */
  async dropCache(group: GroupPath): Promise<number> {
    const beforeBytes = this.charged(group);
    const stat = this.#files.read(group, 'memory.stat') ?? '';
    const cacheBytes = (flatField(stat, 'inactive_file') ?? 0) + (flatField(stat, 'active_file') ?? 0);
    await this.#reclaim(group, cacheBytes);
    return Math.max(0, beforeBytes - this.charged(group));
  }

  /**
   * The kernel sets memory.max at once, reclaims, and kills when that is not enough. So a lower one is written only over
   * processes that stand still, after the charge has been seen below it.
   */
  async writeLimit(
    group: GroupPath,
    beforeBytes: number | null,
    bytes: number | null,
    whileStill: WhileStill,
  ): Promise<LimitOutcome> {
    const held = this.#isHeld(group);
    const write = (): LimitOutcome => {
      this.#files.write(group, 'memory.max', String(bytes ?? 'max'));
      // The hold moves with the limit.
      if (held) this.hold(group, true);
      return 'applied';
    };
    if (bytes === null || (beforeBytes !== null && bytes >= beforeBytes)) return write();
    const excessBytes = this.charged(group) - bytes;
    if (excessBytes > 0) await this.#reclaim(group, excessBytes);
    return whileStill(() => (this.charged(group) > bytes ? 'busy' : write()));
  }

  /** Nothing but a hold sets memory.high. */
  #isHeld(group: GroupPath): boolean {
    return (this.#files.read(group, 'memory.high') ?? 'max') !== 'max';
  }

  /** Asks the kernel to take `bytes` back, cache first; how much it could is seen in memory.current. */
  async #reclaim(group: GroupPath, bytes: number): Promise<void> {
    if (bytes <= 0) return;
    try {
      // On a thread: it takes as long as the walk through the pages does.
      await writeTextOnThread(join(this.#files.directory(group), 'memory.reclaim'), String(bytes));
    } catch (error) {
      // EAGAIN: less than asked could be had.
      if (hasCode(error, 'EAGAIN', 'EINTR', 'ENODEV')) return;
      if (!hasCode(error, 'ENOENT')) throw error;
      await this.#reclaimByHigh(group, bytes);
    }
  }

  /** For kernels before 5.19: writing memory.high reclaims down to it, and is undone at once. */
  async #reclaimByHigh(group: GroupPath, bytes: number): Promise<void> {
    const file = join(this.#files.directory(group), 'memory.high');
    const before = readTextIfThere(file);
    if (before === undefined) return;
    try {
      await writeTextOnThread(file, String(Math.max(0, this.charged(group) - bytes)));
    } finally {
      this.#files.write(group, 'memory.high', before);
    }
  }
}
