// The memory of every workload, and its copy in the store: read at the start, written at most once a minute for each that
// changed, and at the orderly end. Owns that map and when it is written. A crash loses a minute; a workload that is removed
// takes its memory with it.
import type { Clock } from '../../base/clock.ts';
import type { WorkloadKey } from '../../base/ids.ts';
import type { Store } from '../../store/port.ts';
import type { Logger } from '../../sys/log.ts';
import type { DesiredState } from '../state/desired.ts';
import { keys } from '../state/records.ts';
import { fromStored, newMemory, toStored, type WorkloadMemory } from './stored-memory.ts';

/** Histories are of minutes and days: a crash may cost one of them its last minute. */
const storeEveryMs = 60_000;
/** So many are written in one tick: a thousand workloads are through within a minute, and no request waits behind them. */
const storedPerTick = 20;

export interface MemoriesParts {
  readonly store: Store;
  readonly desired: Pick<DesiredState, 'record'>;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Kept {
  readonly memory: WorkloadMemory;
  /** Since when the store has not what is known now; null when it has. */
  changedAtMs: number | null;
}

export class Memories {
  readonly #parts: MemoriesParts;
  readonly #kept = new Map<WorkloadKey, Kept>();
  #writing: Promise<void> = Promise.resolve();
  #isWriting = false;

  constructor(parts: MemoriesParts) {
    this.#parts = parts;
  }

  async load(): Promise<void> {
    const { store, desired, log } = this.#parts;
    for (const { key, value } of await store.list(keys.memories)) {
      const workload = key.slice(keys.memories.length) as WorkloadKey;
      const memory = desired.record(workload) === undefined ? undefined : fromStored(value);
      if (memory !== undefined) {
        this.#kept.set(workload, { memory, changedAtMs: null });
        continue;
      }
      log.info({ workload }, 'what was known of its demand is of no use any more');
      await store.delete(key);
    }
  }

  /** Undefined when nothing is known. */
  find(key: WorkloadKey): WorkloadMemory | undefined {
    return this.#kept.get(key)?.memory;
  }

  /** For what there is to add to it; undefined for a workload that was removed. */
  change(key: WorkloadKey): WorkloadMemory | undefined {
    const { desired, clock } = this.#parts;
    let kept = this.#kept.get(key);
    if (kept === undefined) {
      if (desired.record(key) === undefined) return undefined;
      this.#kept.set(key, (kept = { memory: newMemory(clock.nowMs()), changedAtMs: null }));
    }
    kept.changedAtMs ??= clock.nowMs();
    return kept.memory;
  }

  /** Forgets those whose workload was removed, and writes what was not written for long. */
  tick(): void {
    if (this.#isWriting) return;
    const { clock } = this.#parts;
    const dueMs = clock.nowMs() - storeEveryMs;
    const due = [...this.#kept].filter(([, { changedAtMs }]) => changedAtMs !== null && changedAtMs <= dueMs);
    due.sort(([, a], [, b]) => (a.changedAtMs ?? 0) - (b.changedAtMs ?? 0));
    this.#write(due.slice(0, storedPerTick).map(([key]) => key));
  }

  /** Writes all that changed. */
  async close(): Promise<void> {
    await this.#writing;
    this.#write([...this.#kept].filter(([, { changedAtMs }]) => changedAtMs !== null).map(([key]) => key));
    await this.#writing;
  }

  #write(due: readonly WorkloadKey[]): void {
    const { desired, log } = this.#parts;
    const gone = [...this.#kept.keys()].filter((key) => desired.record(key) === undefined);
    if (due.length + gone.length === 0) return;
    this.#isWriting = true;
    this.#writing = Promise.all([
      ...gone.map((key) => this.#forget(key)),
      ...due.filter((key) => !gone.includes(key)).map((key) => this.#put(key)),
    ])
      .catch((thrown: unknown) => log.warn({ err: thrown }, 'what is known of demand could not be stored'))
      .then(() => {
        this.#isWriting = false;
      });
  }

  async #put(key: WorkloadKey): Promise<void> {
    const { store, clock } = this.#parts;
    const kept = this.#kept.get(key);
    if (kept === undefined) return;
    const { changedAtMs } = kept;
    kept.changedAtMs = null;
    try {
      await store.put(keys.memory(key), toStored(kept.memory, clock.nowMs()));
    } catch (thrown) {
      kept.changedAtMs ??= changedAtMs;
      throw thrown;
    }
  }

  async #forget(key: WorkloadKey): Promise<void> {
    this.#kept.delete(key);
    await this.#parts.store.delete(keys.memory(key));
  }
}
