// Lent grants: what of a request is lent, when that is safe, and when it is needed back. Pure: no I/O, no clock.
import { humanBytes, type Bytes } from '../../base/quantity.ts';
import type { InstanceUsage } from '../../model/instance.ts';
import type { Resources } from '../../model/resources.ts';
import type { ResizeRequest } from '../../protocol/agent.ts';
import { headroomBytes, judgeShrink, type Verdict } from './plan.ts';

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

/** Whether a lent limit of `wantedBytes` can be written. Who stands still allocates nothing, so that it needs no headroom. */
export function judgeLoan(
  usage: Pick<InstanceUsage, 'memoryBytes' | 'workingSetBytes'>,
  wantedBytes: number,
  standsStill: boolean,
): Verdict {
  if (!standsStill) return judgeShrink(usage, wantedBytes);
  if (usage.workingSetBytes <= wantedBytes)
    return { safe: true, cacheInTheWay: usage.memoryBytes > wantedBytes };
  return {
    safe: false,
    reason: `holds ${humanBytes(usage.workingSetBytes)} (working set) while it stands still; ${humanBytes(wantedBytes)} was asked`,
  };
}

/**
 * From here on a running instance is near its lent limit. Half of what must be left when it is lent: so it is not given back
 * for what was there already, and whoever allocates fast is noticed some milliseconds before it must wait.
 */
export function strainEdgeBytes(limitBytes: number): number {
  return limitBytes - headroomBytes(limitBytes) / 2;
}
