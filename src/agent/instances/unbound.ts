// A process that belongs to nobody yet: what it runs, and the group it is in until it does. Owns no process.
import { nodeRuntime } from '../../runtime/node-runtime.ts';
import type { LaunchPlaces, LaunchPlan } from '../../runtime/port.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import { instancePids, pooledMemoryBytes } from '../config.ts';

export function unboundPlan(places: LaunchPlaces): LaunchPlan {
  const plan = nodeRuntime.pooled(places);
  if (plan === null) throw new Error('the Node runtime can not be pooled');
  return plan;
}

/** Makes its group. */
export async function furnishPooled(cgroup: Cgroup, group: GroupPath): Promise<void> {
  cgroup.create(group);
  await cgroup.setLimits(group, { memoryBytes: pooledMemoryBytes, pids: instancePids });
}
