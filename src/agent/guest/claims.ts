// What the unit's owner asks about memory: what is reclaimable, and to make it so. Puts figures, estimation and the ladder
// together for the instances that run. Owns the rungs themselves.
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { Reclaimable } from '../../protocol/guest.ts';
import { flatField } from '../cgroup/files.ts';
import type { Cgroup } from '../cgroup/port.ts';
import type { Instance } from '../instances/instance.ts';
import { Activity } from './activity.ts';
import { claimableBytes, garbageOf, isIdle, reclaimableOf, type InstanceFigures } from './identify.ts';
import { climb, type Climbed, type Rung } from './ladder.ts';
import { readMemory } from './memory-figures.ts';
import type { Storage } from './storage.ts';

/** Less garbage than this is not worth the pause of a collection. */
const leastGarbageBytes = 1024 * 1024;

export interface ClaimsOptions {
  readonly cgroup: Cgroup;
  readonly clock: Clock;
  readonly storage: Storage;
  readonly instances: () => readonly Instance[];
}

export class Claims {
  readonly #options: ClaimsOptions;
  readonly #activity: Activity;
  /** One ladder at a time: two would count the same bytes. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: ClaimsOptions) {
    this.#options = options;
    this.#activity = new Activity(options.clock);
  }

  async identify(): Promise<Reclaimable> {
    const [instances, memory, storage] = await Promise.all([
      this.#figures(),
      readMemory(),
      this.#options.storage.figures(),
    ]);
    return reclaimableOf(memory, storage, instances);
  }

  makeClaimable(bytes: number): Promise<Climbed> {
    const run = this.#turn.then(() => this.#climb(bytes));
    this.#turn = run.catch(() => undefined);
    return run;
  }

  async #climb(bytes: number): Promise<Climbed> {
    const claimable = async (): Promise<number> => claimableBytes(await readMemory());
    // Who is idle takes a moment to find out: only where it matters.
    const rungs = (await claimable()) >= bytes ? [] : await this.#rungs();
    return climb({ wantedBytes: bytes, rungs, claimable, nowMs: () => this.#options.clock.monotonicMs() });
  }

  async #rungs(): Promise<Rung[]> {
    const { instances, storage } = this.#options;
    const byId = new Map(instances().map((instance) => [instance.id, instance]));
    const heaps = (await this.#figures())
      .filter((figures) => isIdle(figures) && garbageOf(figures) >= leastGarbageBytes)
      .sort((one, other) => garbageOf(other) - garbageOf(one))
      .map(({ id }): Rung => ({
        step: 'heaps',
        climb: async () => {
          await byId.get(id)?.trim();
        },
      }));
    const trimStorage: Rung = {
      step: 'storage',
      climb: async () => {
        await storage.trim();
      },
    };
    return [
      ...heaps,
      { step: 'cache', climb: dropUnmappedCache },
      ...((await storage.hasFreed()) ? [trimStorage] : []),
      // Free pages next to each other go back in large pieces.
      { step: 'compact', climb: () => writeFile('/proc/sys/vm/compact_memory', '1') },
    ];
  }

  async #figures(): Promise<InstanceFigures[]> {
    const instances = this.#options.instances();
    const shares = await this.#activity.shares(
      instances.map((instance) => ({ id: instance.id, cpuMicros: () => instance.usage().cpuUsageMicros })),
    );
    return instances.map((instance) => ({
      id: instance.id,
      frozen: instance.state === 'frozen',
      cpuShare: instance.state === 'idle' ? (shares.get(instance.id) ?? null) : null,
      workingSetBytes: instance.usage().workingSetBytes,
      trimmedToBytes: instance.trimmedToBytes,
      cacheBytes: this.#cacheBytes(instance),
    }));
  }

  /** Clean file cache that is charged to it. */
  #cacheBytes(instance: Instance): number {
    const directory = this.#options.cgroup.memoryDirectory(instance.cell.group);
    if (directory === null) return 0;
    const stat = readFileSync(join(directory, 'memory.stat'), 'latin1');
    const field = (name: string): number => flatField(stat, name) ?? 0;
    return Math.max(
      0,
      field('inactive_file') + field('active_file') - field('file_dirty') - field('file_writeback'),
    );
  }
}

/** Clean pages that nobody has mapped: running programs keep their text. Names and inodes stay: they are dear to find again. */
function dropUnmappedCache(): Promise<void> {
  return writeFile('/proc/sys/vm/drop_caches', '1');
}
