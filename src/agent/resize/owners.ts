// The tenants and instances that a request concerns, with their groups and what the kernel enforces on them now.
// Reads; changes nothing.
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import type { ResizeRequest } from '../../protocol/agent.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import { wishOf } from './loan.ts';
import type { InstanceControl, ResizableInstance } from './control.ts';
import type { InstancePlan, OwnerPlan, Quantities } from './plan.ts';

export interface Groups {
  readonly groupOfTenant: (tenant: TenantId) => GroupPath;
  readonly groupOfInstance: (id: InstanceId) => GroupPath;
}

/** `enforced` is what it counts on: of an instance whose memory was lent, and is not to be any more, what it was promised. */
interface HeldPlan {
  /** What the kernel holds it to. */
  readonly held: Quantities;
}

export interface TenantOwner extends OwnerPlan, HeldPlan {
  readonly kind: 'tenant';
  readonly tenant: TenantId;
  readonly group: GroupPath;
}

export interface InstanceOwner extends InstancePlan, HeldPlan {
  readonly kind: 'instance';
  readonly id: InstanceId;
  readonly instance: ResizableInstance;
  readonly group: GroupPath;
  /** What was asked for; null when only its tenant is changed. */
  readonly asked: Resources | null;
  /** What it may go on counting on of its memory, when more than what was asked for; null when nothing is to be lent. */
  readonly promisedBytes: number | null;
  /** More was promised than granted, which nothing here can enforce. */
  readonly unlendable: boolean;
}

export type Owner = TenantOwner | InstanceOwner;

export const tenantKey = (tenant: TenantId): string => `tenant ${tenant}`;
export const instanceKey = (id: InstanceId): string => `instance ${id}`;

export interface Known extends Groups {
  readonly cgroup: Cgroup;
  readonly control: InstanceControl;
  /** What it was last asked to be. */
  readonly desired: (id: InstanceId) => Resources | undefined;
  /** What it was promised of its memory while a part of that is lent. */
  readonly promised: (id: InstanceId) => number | null;
}

export interface Concerned {
  readonly tenants: readonly TenantOwner[];
  readonly instances: readonly InstanceOwner[];
}

/**
 * Instances of a changed tenant are concerned too, because its CPU limit bounds theirs. Instances that are gone are left
 * out.
 */
export function concernedBy(request: ResizeRequest, known: Known): Concerned {
  const { cgroup, control, desired, promised } = known;
  const tenants = request.tenants.map((spec): TenantOwner => {
    const group = known.groupOfTenant(spec.tenant);
    const enforced = cgroup.limits(group);
    const wanted = enforceable(cgroup, enforced, spec);
    const key = tenantKey(spec.tenant);
    return { kind: 'tenant', key, tenant: spec.tenant, group, enforced, held: enforced, wanted };
  });
  const cpuOfTenant = new Map(tenants.map((owner) => [owner.tenant, owner.wanted.cpuMillicores]));
  const { memoryLimit } = cgroup.capabilities;
  const asked = new Map(request.instances.map((part) => [part.id, wishOf(part, memoryLimit)]));
  const ids = new Set([
    ...asked.keys(),
    ...tenants.flatMap((owner) => instancesOf(owner.tenant, cgroup, control, known)),
  ]);
  /** Of hundreds of instances of one tenant: read once. */
  const tenantCpuLimit = (tenant: TenantId): number | null => {
    const limit = cpuOfTenant.get(tenant);
    if (limit !== undefined) return limit;
    const { cpuMillicores } = cgroup.limits(known.groupOfTenant(tenant));
    cpuOfTenant.set(tenant, cpuMillicores);
    return cpuMillicores;
  };
  const instances = [...ids].flatMap((id): InstanceOwner[] => {
    const instance = control.describe(id);
    if (instance === undefined) return [];
    const group = known.groupOfInstance(id);
    const held = cgroup.limits(group);
    const wish = asked.get(id);
    const grant = wish?.grant ?? null;
    const promisedBytes = wish?.promisedBytes ?? null;
    const lentOfBytes = promised(id);
    // Less than what it counts on is a shrink, though the kernel's limit may rise with it.
    const isShrink =
      lentOfBytes !== null && grant !== null && promisedBytes === null && grant.memory < lentOfBytes;
    const enforced = isShrink ? { ...held, memoryBytes: lentOfBytes } : held;
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
        held,
        enforced,
        asked: grant,
        promisedBytes,
        unlendable: wish?.unlendable ?? false,
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
