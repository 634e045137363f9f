// What can never be done however long one waits, and why, in words: part of plan-change.ts. Pure.
// Too little room because others use it is no matter of this file: that is shared, or deferred.
import { minMillicores } from '../base/quantity.ts';
import type { ResourceChange, TenantChange } from '../model/change.ts';
import { formatResource, resourceKinds, type ResourceKind } from '../model/resources.ts';
import { minInstanceMemory } from '../model/workload.ts';
import { groupsOf, siblingsOf, type PlanGroups, type Siblings, type TenantGroup } from './plan-groups.ts';
import type { InstanceState, PlanInput, PlannedInstanceChange, TenantState } from './plan-input.ts';

/** The least one instance can run with. */
export const minimumOf: Readonly<Record<ResourceKind, number>> = {
  memory: minInstanceMemory,
  cpu: minMillicores,
  storage: 0,
  bandwidth: 0,
};

export interface Infeasible {
  /** The first reason; empty when nothing stands against the change. */
  readonly reason: string;
  readonly tenants: readonly TenantChange[];
  readonly instances: readonly PlannedInstanceChange[];
}

export function findInfeasible(input: PlanInput, groups = groupsOf(input)): Infeasible {
  const tenants = input.tenants
    .filter(({ limits, wantedLimits }) => limits !== wantedLimits)
    .map((state): TenantChange => {
      const instances = sizeOf(groups.ofTenant.get(state.tenant));
      const changes = resourceKinds.flatMap((resource) => {
        const reason = limitReason(state, instances, resource);
        return reason === ''
          ? []
          : [refused(resource, state.limits[resource], state.wantedLimits[resource], reason)];
      });
      return { tenant: state.tenant, changes };
    })
    .filter(({ changes }) => changes.length > 0);
  const instances: PlannedInstanceChange[] = [];
  let siblings: ReturnType<typeof siblingsOf> | undefined;
  for (const instance of input.instances) {
    // What is asked for as before is not judged again.
    if (instance.request === instance.wanted) continue;
    siblings ??= siblingsOf(input);
    const own = siblings.get(instance.workload);
    const changes = resourceKinds.flatMap((resource) => {
      const reason = requestReason(instance, resource, input, groups, own);
      return reason === ''
        ? []
        : [refused(resource, instance.grant[resource], instance.wanted[resource], reason)];
    });
    const { id, workload, tenant } = instance;
    if (changes.length > 0) instances.push({ instance: id, workload, tenant, changes });
  }
  const reason = (tenants[0] ?? instances[0])?.changes[0]?.reason ?? '';
  return { reason, tenants, instances };
}

function refused(
  resource: ResourceKind,
  before: number | null,
  wanted: number | null,
  reason: string,
): ResourceChange {
  return { resource, before, after: before, wanted, status: 'infeasible', reason, durationMs: 0 };
}

/** A limit below what its requests add up to only caps them, but below their minimums not all could go on running. */
function limitReason(
  { tenant, limits, wantedLimits }: TenantState,
  instances: number,
  resource: ResourceKind,
): string {
  const limit = wantedLimits[resource];
  if (limit === limits[resource] || limit === null) return '';
  const needed = instances * minimumOf[resource];
  if (limit >= needed) return '';
  const each = formatResource(resource, minimumOf[resource]);
  return (
    `A ${resource} limit of ${formatResource(resource, limit)} is too little for the ${count(instances)} that tenant ${tenant}` +
    ` runs: each needs at least ${each}, together ${formatResource(resource, needed)}.`
  );
}

function requestReason(
  instance: InstanceState,
  resource: ResourceKind,
  input: PlanInput,
  { ofTenant }: PlanGroups,
  siblings: Readonly<Siblings> | undefined,
): string {
  const wanted = instance.wanted[resource];
  if (instance.request?.[resource] === wanted) return '';
  const minimum = minimumOf[resource];
  if (wanted < minimum) {
    return `${instance.workload} can not run with ${formatResource(resource, wanted)} of ${resource}: an instance needs at least ${formatResource(resource, minimum)}.`;
  }
  const capacity = input.capacity[resource];
  if (wanted > capacity) {
    return `${instance.workload} can not have ${formatResource(resource, wanted)} of ${resource}: the unit has ${formatResource(resource, capacity)}.`;
  }
  const group = ofTenant.get(instance.tenant);
  const limit = group?.state.wantedLimits[resource] ?? null;
  if (limit === null) return '';
  const together = siblings?.wanted[resource] ?? wanted;
  if (together > limit) {
    const all =
      siblings === undefined || siblings.count === 1
        ? `${formatResource(resource, wanted)} of ${resource}`
        : `${formatResource(resource, together)} of ${resource} for its ${count(siblings.count)} together`;
    return (
      `${instance.workload} can not have ${all}: tenant ${instance.tenant}'s limit is` +
      ` ${formatResource(resource, limit)}. Raise the limit first, or ask for less.`
    );
  }
  const all = sizeOf(group);
  if (all * minimum > limit) {
    return (
      `Tenant ${instance.tenant}'s ${resource} limit of ${formatResource(resource, limit)} has no room for ${count(all)}:` +
      ` each needs at least ${formatResource(resource, minimum)}.`
    );
  }
  return '';
}

function sizeOf(group: TenantGroup | undefined): number {
  return group === undefined ? 0 : group.to - group.from;
}

function count(instances: number): string {
  return instances === 1 ? '1 instance' : `${instances} instances`;
}
