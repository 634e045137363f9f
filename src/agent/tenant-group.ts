// The group that a tenant's instances are below, with the tenant's limits. Owns making it so that nothing that runs is pressed.
import type { TenantId } from '../base/ids.ts';
import type { TenantSpec } from '../protocol/agent.ts';
import type { Cgroup } from './cgroup/port.ts';
import { groupOfTenant } from './groups.ts';
import { isLess } from './resize/plan.ts';

/** Makes it where it is not there. Its limits are raised at most, unless nobody is below them. */
export async function ensureTenantGroup(cgroup: Cgroup, spec: TenantSpec): Promise<void> {
  const group = groupOfTenant(spec.tenant);
  cgroup.create(group);
  const { memoryBytes, cpuMillicores } = cgroup.limits(group);
  // A new agent or controller repeats what holds. Less than that may be in use: lowering is a resize.
  await cgroup.setLimits(group, {
    cpuWeight: spec.weight,
    ...(isLess(memoryBytes, spec.memoryBytes) || isUnused(cgroup, spec.tenant)
      ? { memoryBytes: spec.memoryBytes }
      : {}),
    ...(isLess(cpuMillicores, spec.cpuMillicores) || isUnused(cgroup, spec.tenant)
      ? { cpuMillicores: spec.cpuMillicores }
      : {}),
  });
}

function isUnused(cgroup: Cgroup, tenant: TenantId): boolean {
  return cgroup.children(groupOfTenant(tenant)).length === 0;
}
