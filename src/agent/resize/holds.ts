// What an agent that died while it lowered limits, or while some were lower than was promised or asked for, left behind: groups whose out-of-memory is held, and nobody who watches.
// Owns ending that once, when a new agent takes over. Holding and watching are watch.ts.
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import type { InstanceControl } from './control.ts';
import type { Groups } from './owners.ts';
import { nearBytes } from './watch.ts';

export interface HoldsOptions extends Groups {
  readonly cgroup: Cgroup;
  readonly control: InstanceControl;
}

/**
 * Ends holds of these groups. An instance is given what its record says that it counts on, so that nothing is lent any more;
 * one that stands at its limit all the same, twice that: the next request decides anew.
 */
export async function endHolds(
  ids: readonly InstanceId[],
  tenants: readonly TenantId[],
  { cgroup, control, groupOfInstance, groupOfTenant }: HoldsOptions,
): Promise<void> {
  for (const id of ids) await endHold(cgroup, groupOfInstance(id), control.describe(id)?.grant.memory ?? 0);
  for (const tenant of tenants) await endHold(cgroup, groupOfTenant(tenant), 0);
}

/** @param grantedBytes what it may have in any case */
export async function endHold(cgroup: Cgroup, group: GroupPath, grantedBytes: number): Promise<void> {
  const { held, memoryBytes, limitBytes } = cgroup.memoryStrain(group);
  if (!held) return;
  if (limitBytes !== null) {
    // Who waits wakes up now and then to try, so that `waiting` alone could be missed.
    const leastBytes = memoryBytes >= limitBytes - nearBytes ? limitBytes * 2 : limitBytes;
    const wantedBytes = Math.max(leastBytes, grantedBytes);
    if (wantedBytes > limitBytes) await cgroup.setLimits(group, { memoryBytes: wantedBytes });
  }
  cgroup.holdOutOfMemory(group, false);
}
