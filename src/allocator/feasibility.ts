// What can never be done however long one waits, and why, in words: part of plan-change.ts. Pure.
// Too little room because others use it is no matter of this file: that is shared, or deferred.
import { minMillicores } from '../base/quantity.ts';
import type { ResourceChange, TenantChange } from '../model/change.ts';
import { formatResource, resourceKinds, type ResourceKind } from '../model/resources.ts';
import { minInstanceMemory } from '../model/workload.ts';
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

export function findInfeasible(input: PlanInput): Infeasible {
  const tenants = input.tenants
    .map((state): TenantChange => {
      const own = input.instances.filter(({ tenant }) => tenant === state.tenant);
      const changes = resourceKinds.flatMap((resource) => {
        const reason = limitReason(state, own.length, resource);
        return reason === ''
          ? []
          : [refused(resource, state.limits[resource], state.wantedLimits[resource], reason)];
      });
      return { tenant: state.tenant, changes };
    })
    .filter(({ changes }) => changes.length > 0);
  const instances = input.instances
    .map((instance): PlannedInstanceChange => {
      const changes = resourceKinds.flatMap((resource) => {
        const reason = requestReason(instance, resource, input);
        return reason === ''
          ? []
          : [refused(resource, instance.grant[resource], instance.wanted[resource], reason)];
      });
      return { instance: instance.id, workload: instance.workload, tenant: instance.tenant, changes };
    })
    .filter(({ changes }) => changes.length > 0);
  const reason = [...tenants, ...instances][0]?.changes[0]?.reason ?? '';
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

function requestReason(instance: InstanceState, resource: ResourceKind, input: PlanInput): string {
  const wanted = instance.wanted[resource];
  if (instance.request?.[resource] === wanted) return '';
  const shown = formatResource(resource, wanted);
  const minimum = minimumOf[resource];
  if (wanted < minimum) {
    return `${instance.workload} can not run with ${shown} of ${resource}: an instance needs at least ${formatResource(resource, minimum)}.`;
  }
  const capacity = input.capacity[resource];
  if (wanted > capacity) {
    return `${instance.workload} can not have ${shown} of ${resource}: the unit has ${formatResource(resource, capacity)}.`;
  }
  const limit =
    input.tenants.find(({ tenant }) => tenant === instance.tenant)?.wantedLimits[resource] ?? null;
  if (limit === null) return '';
  const siblings = input.instances.filter(({ workload }) => workload === instance.workload);
  const together = siblings.reduce((sum, sibling) => sum + sibling.wanted[resource], 0);
  if (together > limit) {
    const all =
      siblings.length === 1
        ? `${shown} of ${resource}`
        : `${formatResource(resource, together)} of ${resource} for its ${count(siblings.length)} together`;
    return (
      `${instance.workload} can not have ${all}: tenant ${instance.tenant}'s limit is` +
      ` ${formatResource(resource, limit)}. Raise the limit first, or ask for less.`
    );
  }
  const all = input.instances.filter(({ tenant }) => tenant === instance.tenant);
  if (all.length * minimum > limit) {
    return (
      `Tenant ${instance.tenant}'s ${resource} limit of ${formatResource(resource, limit)} has no room for ${count(all.length)}:` +
      ` each needs at least ${formatResource(resource, minimum)}.`
    );
  }
  return '';
}

function count(instances: number): string {
  return instances === 1 ? '1 instance' : `${instances} instances`;
}
