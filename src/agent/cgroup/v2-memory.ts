// A group's memory under v2: what is charged, what can be taken back, and how a limit is lowered without the kernel's
// killing for it, as v2's own write of memory.max would. Owns the memory.* files; processes stand still by its caller's doing.
//
//               memory.max   memory.high
//   enforced    the limit    max            who needs more is killed
//   held        max          the limit      who needs more is slowed down, and nobody is ever killed
//
// Both at once would not do: from memory.high on the kernel slows down by how far the group is above it, relative to its size
// (64 s times the square of that part, for 256 KiB), and does not below 10 ms. A large group would pass any margin that is
// worth its memory, and be killed at memory.max.
import { watch } from 'node:fs';
import { join } from 'node:path';
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
 * The hold of a group that has no limit: nothing ever comes so far, and the limit that is written next is held from its
 * first moment. Any number would do that the kernel does not show as `max`.
 */
const holdWithoutLimitBytes = 2 ** 60;

/** Runs `action` while no process of the group can allocate. */
export type WhileStill = (action: () => LimitOutcome) => Promise<LimitOutcome>;

export class V2Memory {
  readonly #files: V2Files;
  /** Holds that were to end while more than the limit was charged, which would kill: they end when it is not any more. */
  readonly #endingHolds = new Set<string>();
  /** What memory.high says but for the moment in which it serves to reclaim. */
  readonly #highWhileReclaiming = new Map<string, string>();

  constructor(files: V2Files) {
    this.#files = files;
  }

  charged(group: GroupPath): number {
    return Number(this.#files.read(group, 'memory.current') ?? 0);
  }

  limit(group: GroupPath): number | null {
    const held = limitOf(this.#high(group));
    if (held === null) return limitOf(this.#files.read(group, 'memory.max'));
    return held >= holdWithoutLimitBytes ? null : held;
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

  /** In between both files have the limit: whoever reads, or goes on after a crash, finds it held. */
  hold(group: GroupPath, held: boolean): void {
    this.#endingHolds.delete(this.#files.directory(group));
    if (held === this.#isHeld(group)) return;
    const limit = this.limit(group);
    if (held) {
      this.#files.write(group, 'memory.high', String(limit ?? holdWithoutLimitBytes));
      this.#files.write(group, 'memory.max', 'max');
    } else if (limit !== null && this.charged(group) > limit) {
      this.#endingHolds.add(this.#files.directory(group));
    } else {
      this.#files.write(group, 'memory.max', String(limit ?? 'max'));
      this.#files.write(group, 'memory.high', 'max');
    }
  }

  /** The group is gone. */
  forget(group: GroupPath): void {
    this.#endingHolds.delete(this.#files.directory(group));
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

  /** The kernel tells of changes of this file: the limit was reached. */
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
    const write = (): LimitOutcome => {
      if (this.#isHeld(group)) {
        this.#files.write(group, 'memory.high', String(bytes ?? holdWithoutLimitBytes));
        if (this.#endingHolds.has(this.#files.directory(group))) this.hold(group, false);
      } else this.#files.write(group, 'memory.max', String(bytes ?? 'max'));
      return 'applied';
    };
    if (bytes === null || (beforeBytes !== null && bytes >= beforeBytes)) return write();
    const excessBytes = this.charged(group) - bytes;
    if (excessBytes > 0) await this.#reclaim(group, excessBytes);
    const writeWhenFree = (): LimitOutcome => (this.charged(group) > bytes ? 'busy' : write());
    // Of a held one nobody is killed, whatever it allocates meanwhile.
    return this.#isHeld(group) ? writeWhenFree() : whileStill(writeWhenFree);
  }

  /** Nothing but a hold sets memory.high. */
  #isHeld(group: GroupPath): boolean {
    return limitOf(this.#high(group)) !== null;
  }

  #high(group: GroupPath): string | undefined {
    return (
      this.#highWhileReclaiming.get(this.#files.directory(group)) ?? this.#files.read(group, 'memory.high')
    );
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
    const directory = this.#files.directory(group);
    const before = readTextIfThere(join(directory, 'memory.high'));
    if (before === undefined || this.#highWhileReclaiming.has(directory)) return;
    this.#highWhileReclaiming.set(directory, before);
    try {
      const target = Math.max(0, this.charged(group) - bytes);
      await writeTextOnThread(join(directory, 'memory.high'), String(target));
    } finally {
      this.#highWhileReclaiming.delete(directory);
      this.#files.write(group, 'memory.high', before);
    }
  }
}
