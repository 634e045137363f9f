// What reclaim remembers of instances that it asked: what they used before, what they stood at after, and that they failed.
// Owns that memory, which ends with the instance.
import type { InstanceId } from '../../base/ids.ts';
import type { InstanceUsage } from '../../model/instance.ts';
import type { Left } from './expected-gain.ts';

/** One that could not be asked, because its code does not pause or its agent was away, is not tried again at once. */
const afterFailureMs = 60_000;

export class Asked {
  /** What it does not use again of this counts as claimed. */
  readonly #usedBefore = new Map<InstanceId, number>();
  readonly #left = new Map<InstanceId, Left>();
  readonly #failedAtMs = new Map<InstanceId, number>();

  /** @param whole its garbage was collected, too */
  note(id: InstanceId, whole: boolean, before: InstanceUsage, after: InstanceUsage): void {
    const cacheBytes = Math.max(0, after.memoryBytes - after.workingSetBytes);
    const memoryBytes = whole ? after.memoryBytes : (this.#left.get(id)?.memoryBytes ?? null);
    this.#left.set(id, { memoryBytes, cacheBytes });
    this.#usedBefore.set(id, before.memoryBytes);
    this.#failedAtMs.delete(id);
  }

  failed(id: InstanceId, atMs: number): void {
    this.#failedAtMs.set(id, atMs);
  }

  leftOf(id: InstanceId): Left | undefined {
    return this.#left.get(id);
  }

  /** Whether it may be asked, by what became of it when it was asked last. */
  mayBeAsked(id: InstanceId, nowMs: number): boolean {
    const failedAtMs = this.#failedAtMs.get(id);
    return failedAtMs === undefined || nowMs - failedAtMs >= afterFailureMs;
  }

  /** Bytes that were taken back from it and that it has not taken again. */
  claimedBytes(id: InstanceId, usedBytes: number | undefined): number {
    const before = this.#usedBefore.get(id);
    return before === undefined || usedBytes === undefined ? 0 : Math.max(0, before - usedBytes);
  }

  forget(id: InstanceId): void {
    this.#usedBefore.delete(id);
    this.#left.delete(id);
    this.#failedAtMs.delete(id);
  }
}
