// What an agent that died while it lowered limits left behind: groups whose out-of-memory is held, and nobody who watches.
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
 * Ends holds of these groups. One that stands at its limit is given twice as much, an instance at least what its record
 * grants it: the next request decides anew.
 */
export async function endHolds(
  ids: readonly InstanceId[],
  tenants: readonly TenantId[],
  { cgroup, control, groupOfInstance, groupOfTenant }: HoldsOptions,
): Promise<void> {
  for (const id of ids) await endHold(cgroup, groupOfInstance(id), control.describe(id)?.grant.memory ?? 0);
  for (const tenant of tenants) await endHold(cgroup, groupOfTenant(tenant), 0);
}

async function endHold(cgroup: Cgroup, group: GroupPath, grantedBytes: number): Promise<void> {
  const { held, memoryBytes, limitBytes } = cgroup.memoryStrain(group);
  if (!held) return;
  // Who waits wakes up now and then to try, so that `waiting` alone could be missed.
  const atLimit = limitBytes !== null && memoryBytes >= limitBytes - nearBytes;
  if (atLimit) await cgroup.setLimits(group, { memoryBytes: Math.max(limitBytes * 2, grantedBytes) });
  cgroup.holdOutOfMemory(group, false);
}
