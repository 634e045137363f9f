// The tenants and instances that a request concerns, with their groups and what the kernel enforces on them now.
// Reads; changes nothing.
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { ResizeRequest } from '../../protocol/agent.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import type { InstanceControl, ResizableInstance } from './control.ts';
import type { InstancePlan, OwnerPlan, Quantities } from './plan.ts';

export interface Groups {
  readonly groupOfTenant: (tenant: TenantId) => GroupPath;
  readonly groupOfInstance: (id: InstanceId) => GroupPath;
}

export interface TenantOwner extends OwnerPlan {
  readonly kind: 'tenant';
  readonly tenant: TenantId;
  readonly group: GroupPath;
}

export interface InstanceOwner extends InstancePlan {
  readonly kind: 'instance';
  readonly id: InstanceId;
  readonly instance: ResizableInstance;
  readonly group: GroupPath;
  /** What was asked for; null when only its tenant is changed. */
  readonly asked: Resources | null;
}

export type Owner = TenantOwner | InstanceOwner;

export const tenantKey = (tenant: TenantId): string => `tenant ${tenant}`;
export const instanceKey = (id: InstanceId): string => `instance ${id}`;

export interface Concerned {
  readonly tenants: readonly TenantOwner[];
  readonly instances: readonly InstanceOwner[];
}

/**
 * Instances of a changed tenant are concerned too, because its CPU limit bounds theirs. Instances that are gone are left
 * out. `desired` tells what an instance was last asked to be.
 */
export function concernedBy(
  request: ResizeRequest,
  cgroup: Cgroup,
  control: InstanceControl,
  groups: Groups,
  desired: (id: InstanceId) => Resources | undefined,
): Concerned {
  const tenants = request.tenants.map((spec): TenantOwner => {
    const group = groups.groupOfTenant(spec.tenant);
    const enforced = cgroup.limits(group);
    const wanted = enforceable(cgroup, enforced, spec);
    return { kind: 'tenant', key: tenantKey(spec.tenant), tenant: spec.tenant, group, enforced, wanted };
  });
  const cpuOfTenant = new Map(tenants.map((owner) => [owner.tenant, owner.wanted.cpuMillicores]));
  const asked = new Map(request.instances.map(({ id, grant }) => [id, grant]));
  const ids = new Set([
    ...asked.keys(),
    ...tenants.flatMap((owner) => instancesOf(owner.tenant, cgroup, control, groups)),
  ]);
  /** Of hundreds of instances of one tenant: read once. */
  const tenantCpuLimit = (tenant: TenantId): number | null => {
    const known = cpuOfTenant.get(tenant);
    if (known !== undefined) return known;
    const { cpuMillicores } = cgroup.limits(groups.groupOfTenant(tenant));
    cpuOfTenant.set(tenant, cpuMillicores);
    return cpuMillicores;
  };
  const instances = [...ids].flatMap((id): InstanceOwner[] => {
    const instance = control.describe(id);
    if (instance === undefined) return [];
    const group = groups.groupOfInstance(id);
    const enforced = cgroup.limits(group);
    const grant = asked.get(id) ?? null;
    const target = grant ?? desired(id) ?? instance.grant;
    const wanted = enforceable(cgroup, enforced, {
      // What waits to shrink goes on waiting as it did.
      memoryBytes: grant === null ? enforced.memoryBytes : grant.memory,
      cpuMillicores: target.cpu,
    });
    return [
      {
        kind: 'instance',
        key: instanceKey(id),
        id,
        instance,
        group,
        enforced,
        asked: grant,
        wanted,
        tenantCpuMillicores: tenantCpuLimit(instance.tenant),
      },
    ];
  });
  return { tenants, instances };
}

/** The instances whose groups are in the tenant's. */
export function instancesOf(
  tenant: TenantId,
  cgroup: Cgroup,
  control: InstanceControl,
  groups: Groups,
): InstanceId[] {
  return cgroup
    .children(groups.groupOfTenant(tenant))
    .map((name) => name as InstanceId)
    .filter((id) => control.describe(id)?.tenant === tenant);
}

/** What this machine can not enforce stays as it is. */
function enforceable(cgroup: Cgroup, enforced: Quantities, wanted: Quantities): Quantities {
  const { memoryLimit, cpuLimit } = cgroup.capabilities;
  return {
    memoryBytes: memoryLimit ? wanted.memoryBytes : enforced.memoryBytes,
    cpuMillicores: cpuLimit ? wanted.cpuMillicores : enforced.cpuMillicores,
  };
}
