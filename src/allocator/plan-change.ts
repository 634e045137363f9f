// From what tenants and instances have and are to have, to the ordered steps that get them there: the plan of one
// transaction (MISSION E1), for `--plan` and for the real thing. Pure. Whether a shrink is safe at this moment is for
// the agent to find out when it applies the step; what can never be done is for feasibility.ts to say.
import type { InstanceId, TenantId } from '../base/ids.ts';
import { worstStatus, type ChangeStatus, type ResourceChange, type TenantChange } from '../model/change.ts';
import { formatResource, resourceKinds, type ResourceKind, type Resources } from '../model/resources.ts';
import { findInfeasible, minimumOf } from './feasibility.ts';
import { divide, type Grants } from './grants.ts';
import type { InstanceState, PlanInput, PlannedInstanceChange, TenantState } from './plan-input.ts';

/** One limit to write. null is "no limit of its own". */
export type Step =
  | {
      readonly owner: 'tenant';
      readonly tenant: TenantId;
      readonly resource: ResourceKind;
      readonly before: number | null;
      readonly after: number | null;
    }
  | {
      readonly owner: 'instance';
      readonly instance: InstanceId;
      readonly tenant: TenantId;
      readonly resource: ResourceKind;
      readonly before: number;
      readonly after: number;
    };

/**
 * `applied`: every step can be taken. `deferred`: so it can, but some instance gets less than was asked for it until
 * there is room. `infeasible`: no step is taken; `tenants` and `instances` hold what stands against it.
 */
export interface ChangePlan {
  readonly status: ChangeStatus;
  /** The first reason, in words; empty when `applied`. */
  readonly reason: string;
  readonly tenants: readonly TenantChange[];
  readonly instances: readonly PlannedInstanceChange[];
  /** In the order to take them: what frees before what claims, an instance within its tenant at every moment. */
  readonly steps: readonly Step[];
  /** What every instance is granted when all is done; what it has now when infeasible. */
  readonly grants: ReadonlyMap<InstanceId, Resources>;
}

export function planChange(input: PlanInput): ChangePlan {
  const infeasible = findInfeasible(input);
  if (infeasible.reason !== '') {
    const grants = new Map(input.instances.map(({ id, grant }) => [id, grant]));
    return { status: 'infeasible', ...infeasible, steps: [], grants };
  }
  const divided = Object.fromEntries(
    resourceKinds.map((resource) => [resource, divideOne(input, resource)]),
  ) as Readonly<Record<ResourceKind, Grants>>;
  const grants = new Map(input.instances.map(({ id }) => [id, grantsOf(divided, id)]));
  const tenants = input.tenants.map(tenantChange).filter(({ changes }) => changes.length > 0);
  const instances = input.instances
    .map((instance) => instanceChange(instance, divided, input))
    .filter(({ changes }) => changes.length > 0);
  const changes = [...tenants, ...instances].flatMap((owner) => owner.changes);
  return {
    status: worstStatus(changes.map(({ status }) => status)),
    reason: changes.find(({ reason }) => reason !== '')?.reason ?? '',
    tenants,
    instances,
    steps: stepsOf(tenants, instances),
    grants,
  };
}

function divideOne(
  { capacity, oversubscription, tenants, instances }: PlanInput,
  resource: ResourceKind,
): Grants {
  const claims = tenants.map(({ tenant, weight, wantedLimits }) => ({
    tenant,
    weight,
    limit: wantedLimits[resource],
    instances: instances
      .filter((instance) => instance.tenant === tenant)
      .map(({ id, wanted, inUse }) => ({
        id,
        request: wanted[resource],
        floor: Math.max(minimumOf[resource], inUse[resource] ?? 0),
      })),
  }));
  return divide(capacity[resource], oversubscription[resource], claims);
}

function grantsOf(divided: Readonly<Record<ResourceKind, Grants>>, id: InstanceId): Resources {
  const granted = (resource: ResourceKind): number => divided[resource].instances.get(id) ?? 0;
  return {
    memory: granted('memory') as Resources['memory'],
    cpu: granted('cpu') as Resources['cpu'],
    storage: granted('storage') as Resources['storage'],
    bandwidth: granted('bandwidth') as Resources['bandwidth'],
  };
}

function tenantChange({ tenant, limits, wantedLimits }: TenantState): TenantChange {
  const changes = resourceKinds
    .filter((resource) => limits[resource] !== wantedLimits[resource])
    .map((resource): ResourceChange => ({
      resource,
      before: limits[resource],
      after: wantedLimits[resource],
      wanted: wantedLimits[resource],
      status: 'applied',
      reason: '',
      durationMs: 0,
    }));
  return { tenant, changes };
}

function instanceChange(
  { id, workload, tenant, grant, request, wanted }: InstanceState,
  divided: Readonly<Record<ResourceKind, Grants>>,
  input: PlanInput,
): PlannedInstanceChange {
  const changes: ResourceChange[] = [];
  for (const resource of resourceKinds) {
    const before = grant[resource];
    const after = divided[resource].instances.get(id) ?? 0;
    const asked = request?.[resource] !== wanted[resource];
    if (before === after && !asked) continue;
    // A changed limit means to cap; only who was asked to have more is owed an explanation.
    const short = asked && after < wanted[resource];
    changes.push({
      resource,
      before,
      after,
      wanted: asked ? wanted[resource] : after,
      status: short ? 'deferred' : 'applied',
      reason: short ? shortageReason(resource, tenant, after, divided[resource], input) : '',
      durationMs: 0,
    });
  }
  return { instance: id, workload, tenant, changes };
}

function shortageReason(
  resource: ResourceKind,
  tenant: TenantId,
  after: number,
  grants: Grants,
  input: PlanInput,
): string {
  const limit = input.tenants.find((state) => state.tenant === tenant)?.wantedLimits[resource] ?? null;
  const limitBinds = limit !== null && (grants.tenants.get(tenant) ?? 0) >= limit;
  const sharers = limitBinds
    ? input.instances.filter((instance) => instance.tenant === tenant)
    : input.instances;
  const scarce = limitBinds
    ? `tenant ${tenant}'s limit of ${formatResource(resource, limit)}`
    : `the unit's ${formatResource(resource, input.capacity[resource])}`;
  return `Granted ${formatResource(resource, after)} of ${resource} for now: ${scarce} is shared by ${sharers.length} instances.`;
}

/** Instances shrink, then tenants; tenants grow, then instances: no child is ever above its parent because of us. */
function stepsOf(tenants: readonly TenantChange[], instances: readonly PlannedInstanceChange[]): Step[] {
  const tenantSteps = tenants.flatMap(({ tenant, changes }) =>
    changes.map(({ resource, before, after }): Step => ({
      owner: 'tenant',
      tenant,
      resource,
      before,
      after,
    })),
  );
  const instanceSteps = instances.flatMap(({ instance, tenant, changes }) =>
    changes.map(({ resource, before, after }): Step => ({
      owner: 'instance',
      instance,
      tenant,
      resource,
      before: before ?? 0,
      after: after ?? 0,
    })),
  );
  return [
    ...instanceSteps.filter((step) => directionOf(step) < 0),
    ...tenantSteps.filter((step) => directionOf(step) < 0),
    ...tenantSteps.filter((step) => directionOf(step) > 0),
    ...instanceSteps.filter((step) => directionOf(step) > 0),
  ];
}

/** Below 0: frees. Above 0: claims. 0: nothing to write. */
function directionOf({ before, after }: Step): number {
  return Math.sign((after ?? Number.MAX_VALUE) - (before ?? Number.MAX_VALUE));
}
