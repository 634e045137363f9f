// What a plan's instances ask for and need, as numbers side by side, tenant after tenant. 100,000 instances do not fit into a
// processor's caches, and a plan reads them several times for each resource: to fetch each of them anew took most of its time. Pure.
import { resourceKinds, type ResourceKind } from '../model/resources.ts';
import { minimumOf } from './feasibility.ts';
import type { PlanGroups } from './plan-groups.ts';
import type { PlanInput } from './plan-input.ts';

/** Of one resource, in the order of {@link PlanGroups.order}. */
export interface Column {
  readonly wanted: Float64Array;
  /** What is needed in any case; may be above what is wanted. */
  readonly floors: Float64Array;
}

export function columnsOf(
  { instances }: PlanInput,
  { order }: PlanGroups,
): Readonly<Record<ResourceKind, Column>> {
  const column = (): Column => ({
    wanted: new Float64Array(instances.length),
    floors: new Float64Array(instances.length),
  });
  const columns = { memory: column(), cpu: column(), storage: column(), bandwidth: column() };
  const positions = new Uint32Array(instances.length);
  order.forEach((index, position) => {
    positions[index] = position;
  });
  let index = 0;
  for (const { wanted, inUse } of instances) {
    const position = positions[index] ?? 0;
    for (const resource of resourceKinds) {
      const own = columns[resource];
      own.wanted[position] = wanted[resource];
      own.floors[position] = Math.max(minimumOf[resource], inUse[resource] ?? 0);
    }
    index += 1;
  }
  return columns;
}
