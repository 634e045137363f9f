// The identification process: what of a unit's memory and storage is there and not needed, by kind. Estimation is pure;
// reading is read-reclaimable.ts. Owns what counts as idle, and how much garbage an idle instance is taken to hold.
import type { InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { Reclaimable } from '../../protocol/guest.ts';
import type { MemoryFigures } from './memory-figures.ts';

/**
 * Beside what the kernel keeps: for the agent's own work while it answers (a collection of its own heap, a program that it
 * runs), and for what the network brings meanwhile. A Node process that starts takes some 16 MiB at once.
 */
export const reserveBytes = 24 * mib;

/** What a Node process holds that has done nothing yet. */
const freshBytes = 24 * mib;
/** Of what an instance that was never trimmed holds beyond that: half lives, by what collections of idle instances left. */
const garbageShare = 0.5;
/** Of one CPU: timers of a server without requests take less, a request takes more. */
const idleCpuShare = 0.02;

export interface InstanceFigures {
  readonly id: InstanceId;
  readonly frozen: boolean;
  /** Null unless it was measured over some time. */
  readonly cpuShare: number | null;
  /** Memory that the kernel can not simply drop. */
  readonly workingSetBytes: number;
  /** The same right after the last trim; null when there was none. */
  readonly trimmedToBytes: number | null;
  readonly cacheBytes: number;
}

/** Without a request, as far as can be seen from here: who stands still, or has hardly run. Unknown counts as busy. */
export function isIdle({ frozen, cpuShare }: Pick<InstanceFigures, 'frozen' | 'cpuShare'>): boolean {
  return frozen || (cpuShare !== null && cpuShare < idleCpuShare);
}

/** What a collection would free. After one, everything that came since then is taken for garbage: it was idle meanwhile. */
export function garbageOf({ workingSetBytes, trimmedToBytes }: InstanceFigures): number {
  return trimmedToBytes === null
    ? Math.max(0, workingSetBytes - freshBytes) * garbageShare
    : Math.max(0, workingSetBytes - trimmedToBytes);
}

export interface StorageFigures {
  /** Free in the scratch file system, claims left out. */
  readonly freeBytes: number;
}

export function reclaimableOf(
  memory: MemoryFigures,
  storage: StorageFigures,
  instances: readonly InstanceFigures[],
): Reclaimable {
  const each = instances.map((figures) => {
    const idle = isIdle(figures);
    return {
      id: figures.id,
      idle,
      garbageBytes: idle ? Math.round(garbageOf(figures)) : 0,
      cacheBytes: figures.cacheBytes,
    };
  });
  return {
    totalBytes: memory.totalBytes,
    freeBytes: memory.freeBytes,
    cleanCacheBytes: memory.cleanCacheBytes,
    garbageBytes: each.reduce((sum, { garbageBytes }) => sum + garbageBytes, 0),
    idleStorageBytes: storage.freeBytes,
    usedBytes: instances.reduce((sum, { workingSetBytes }) => sum + workingSetBytes, 0),
    instances: each,
  };
}

/** How much a balloon may take now. */
export function claimableBytes(memory: MemoryFigures): number {
  return Math.max(0, memory.spareBytes - reserveBytes);
}
