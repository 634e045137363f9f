// A tenant on the host: the group that holds its machines. Owns what is enforced on it. Memory is not: each machine's is
// what it was provisioned with less what is claimed, and their agents hold the tenant's limit inside.
import type { Cgroup } from '../../agent/cgroup/port.ts';
import { groupOfTenant } from '../../agent/groups.ts';
import type { TenantSpec } from '../../protocol/agent.ts';
import { hostQuotaOfTenant } from './sizing.ts';

/**
 * Makes the group where it is missing. A lower limit comes after those of the machines in it, a higher one before.
 * @throws when the kernel refuses, above all a quota below that of a machine in it
 */
export async function limitTenant(cgroup: Cgroup, spec: TenantSpec): Promise<void> {
  const group = groupOfTenant(spec.tenant);
  cgroup.create(group);
  await cgroup.setLimits(group, {
    cpuWeight: spec.weight,
    cpuMillicores: hostQuotaOfTenant(spec.cpuMillicores),
  });
}
