// What a resize consists of and in which order, and whether a lower memory limit is safe. Pure: no I/O, no clock.
import { humanBytes, mib } from '../../base/quantity.ts';
import type { InstanceUsage } from '../../model/instance.ts';

/** Null is "no limit of its own": more than any amount. */
export interface Quantities {
  readonly memoryBytes: number | null;
  readonly cpuMillicores: number | null;
}

export interface OwnerPlan {
  /** Names the owner in the steps. */
  readonly key: string;
  readonly enforced: Quantities;
  readonly wanted: Quantities;
}

export interface InstancePlan extends OwnerPlan {
  /** The CPU limit that its tenant will have: cgroup v1 refuses more than that, v2 would not give it. */
  readonly tenantCpuMillicores: number | null;
}

/** One write to one owner's group: only the amounts that change. */
export interface Step {
  readonly key: string;
  readonly direction: Direction;
  readonly limits: Partial<Quantities>;
}

export type Direction = 'grow' | 'shrink';

/**
 * The steps in their order; those of one inner list do not depend on each other. Tenants grow before their instances do,
 * and shrink after them: cgroup v1 never lets an inner CPU quota exceed the outer one, and growth waits for nothing.
 */
export function planSteps(
  tenants: readonly OwnerPlan[],
  instances: readonly InstancePlan[],
): readonly (readonly Step[])[] {
  const capped = instances.map((instance) => ({ ...instance, wanted: cappedQuantities(instance) }));
  return [
    stepsOf(tenants, 'grow'),
    stepsOf(capped, 'grow'),
    stepsOf(capped, 'shrink'),
    stepsOf(tenants, 'shrink'),
  ];
}

/** What an instance can be given under its tenant's CPU limit. */
export function cappedQuantities(instance: InstancePlan): Quantities {
  const { wanted, tenantCpuMillicores } = instance;
  if (!isLess(tenantCpuMillicores, wanted.cpuMillicores)) return wanted;
  return { ...wanted, cpuMillicores: tenantCpuMillicores };
}

function stepsOf(owners: readonly OwnerPlan[], direction: Direction): Step[] {
  return owners.flatMap(({ key, enforced, wanted }) => {
    const limits: { memoryBytes?: number | null; cpuMillicores?: number | null } = {};
    if (directionOf(enforced.memoryBytes, wanted.memoryBytes) === direction)
      limits.memoryBytes = wanted.memoryBytes;
    if (directionOf(enforced.cpuMillicores, wanted.cpuMillicores) === direction)
      limits.cpuMillicores = wanted.cpuMillicores;
    return Object.keys(limits).length === 0 ? [] : [{ key, direction, limits }];
  });
}

function directionOf(from: number | null, to: number | null): Direction | 'same' {
  if (isLess(from, to)) return 'grow';
  return isLess(to, from) ? 'shrink' : 'same';
}

/** Whether limit `a` allows less than limit `b`; null allows anything. */
export function isLess(a: number | null, b: number | null): boolean {
  return (a ?? Number.POSITIVE_INFINITY) < (b ?? Number.POSITIVE_INFINITY);
}

/**
 * A process that was measured just now allocates on until somebody looks again, 10 ms later: fresh pages come at most at
 * some 600 MB/s here, which is 6 MiB. Also V8's young generation grows in steps of up to 8 MiB.
 */
const minHeadroomBytes = 8 * mib;
/** The larger the heap, the more a collection allocates before it frees: evacuation copies survivors, about 1/16. */
const headroomShare = 0.06;

/** What must be left between the working set and a limit that is to be written. */
export function headroomBytes(wantedBytes: number): number {
  return Math.max(minHeadroomBytes, Math.ceil(wantedBytes * headroomShare));
}

export type Verdict =
  | { readonly safe: true; readonly cacheInTheWay: boolean }
  | { readonly safe: false; readonly reason: string };

/** Whether `wantedBytes` can be written as the memory limit of a group that stands at `usage`. */
export function judgeShrink(
  usage: Pick<InstanceUsage, 'memoryBytes' | 'workingSetBytes'>,
  wantedBytes: number,
): Verdict {
  return judgeFit(usage, wantedBytes, headroomBytes(wantedBytes));
}

/** Whether the working set and `headroom` bytes more fit below `wantedBytes`. */
export function judgeFit(
  usage: Pick<InstanceUsage, 'memoryBytes' | 'workingSetBytes'>,
  wantedBytes: number,
  headroom: number,
): Verdict {
  if (usage.workingSetBytes + headroom <= wantedBytes) {
    return { safe: true, cacheInTheWay: usage.memoryBytes + headroom > wantedBytes };
  }
  return {
    safe: false,
    reason: `uses ${humanBytes(usage.workingSetBytes)} (working set) and needs ${humanBytes(headroom)} of headroom; ${humanBytes(wantedBytes)} was asked`,
  };
}
