// Lent grants: what of a request is lent, when that is safe, and when it is needed back. Pure: no I/O, no clock.
import { humanBytes, mib, type Bytes } from '../../base/quantity.ts';
import type { InstanceUsage } from '../../model/instance.ts';
import type { Resources } from '../../model/resources.ts';
import type { ResizeRequest } from '../../protocol/agent.ts';
import { headroomBytes, judgeFit, type Verdict } from './plan.ts';

export interface Wish {
  /** What the kernel is to enforce. */
  readonly grant: Resources;
  /** What the application may go on counting on; null when that is the grant itself. */
  readonly promisedBytes: Bytes | null;
  /** More was promised than granted, but nothing here could hold the instance to less: it has what it was promised. */
  readonly unlendable: boolean;
}

/** What a part of a request comes to. @param canLimit whether a memory limit can be enforced */
export function wishOf(
  { grant, promised }: Pick<ResizeRequest['instances'][number], 'grant' | 'promised'>,
  canLimit: boolean,
): Wish {
  if (promised === undefined || promised.memory <= grant.memory)
    return { grant, promisedBytes: null, unlendable: false };
  if (!canLimit)
    return { grant: { ...grant, memory: promised.memory }, promisedBytes: null, unlendable: true };
  return { grant, promisedBytes: promised.memory, unlendable: false };
}

/**
 * A running instance is charged up to 1.7 GB/s here while it reads a large file: between being told of that and standing at the
 * limit, where on cgroup v1 its system calls would fail, there are 10 ms with this.
 */
const reactionBytes = 16 * mib;

/** What must be left between a running instance's working set and a limit that it is lent down to. */
export function lentHeadroomBytes(wantedBytes: number): number {
  return reactionBytes + headroomBytes(wantedBytes);
}

/** Whether a lent limit of `wantedBytes` can be written. Who stands still allocates nothing, so that it needs no headroom. */
export function judgeLoan(
  usage: Pick<InstanceUsage, 'memoryBytes' | 'workingSetBytes'>,
  wantedBytes: number,
  standsStill: boolean,
): Verdict {
  if (!standsStill) return judgeFit(usage, wantedBytes, lentHeadroomBytes(wantedBytes));
  if (usage.workingSetBytes <= wantedBytes)
    return { safe: true, cacheInTheWay: usage.memoryBytes > wantedBytes };
  return {
    safe: false,
    reason: `holds ${humanBytes(usage.workingSetBytes)} (working set) while it stands still; ${humanBytes(wantedBytes)} was asked`,
  };
}

/**
 * From here on a running instance is near its lent limit. So it is not given back for what was there when it was lent, and whoever
 * allocates fast is noticed before it must wait.
 */
export function strainEdgeBytes(limitBytes: number): number {
  return limitBytes - reactionBytes;
}
