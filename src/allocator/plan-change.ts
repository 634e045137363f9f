// From what tenants and instances have and are to have, to the ordered steps that get them there: the plan of one
// transaction (MISSION E1), for `--plan` and for the real thing. Pure. Whether a shrink is safe at this moment is for
// the agent to find out when it applies the step; what can never be done is for feasibility.ts to say.
import type { InstanceId, TenantId } from '../base/ids.ts';
import type { Bytes } from '../base/quantity.ts';
import { worstStatus, type ChangeStatus, type ResourceChange, type TenantChange } from '../model/change.ts';
import { formatResource, resourceKinds, type ResourceKind, type Resources } from '../model/resources.ts';
import { divideAll, type Divided, type Division } from './division.ts';
import { findInfeasible } from './feasibility.ts';
import { groupsOf, type PlanGroups } from './plan-groups.ts';
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
  /**
   * Memory that an instance may take back of what others have of its share: more than its grant, what it would be granted if
   * everybody demanded what it asks for. Of those alone that lend.
   */
  readonly promised: ReadonlyMap<InstanceId, Bytes>;
}

export function planChange(input: PlanInput): ChangePlan {
  const groups = groupsOf(input);
  const infeasible = findInfeasible(input, groups);
  if (infeasible.reason !== '') {
    const grants = new Map(input.instances.map(({ id, grant }) => [id, grant]));
    return { status: 'infeasible', ...infeasible, steps: [], grants, promised: new Map() };
  }
  const divided = divideAll(input, groups);
  const grants = new Map<InstanceId, Resources>();
  const promised = new Map<InstanceId, Bytes>();
  const instances: PlannedInstanceChange[] = [];
  let index = 0;
  for (const instance of input.instances) {
    const grant = grantOf(divided, index, instance.grant);
    const own = divided.memory.due[index] ?? 0;
    if (own > grant.memory) promised.set(instance.id, own as Bytes);
    index += 1;
    grants.set(instance.id, grant);
    if (isChange(instance, grant)) instances.push(instanceChange(instance, grant, divided, input, groups));
  }
  const tenants = input.tenants
    .filter(({ limits, wantedLimits }) => limits !== wantedLimits)
    .map(tenantChange)
    .filter(({ changes }) => changes.length > 0);
  return {
    ...outcomeOf(tenants, instances),
    tenants,
    instances,
    steps: stepsOf(tenants, instances),
    grants,
    promised,
  };
}

/** The worst status, and the first reason. */
function outcomeOf(
  tenants: readonly TenantChange[],
  instances: readonly PlannedInstanceChange[],
): Pick<ChangePlan, 'status' | 'reason'> {
  const statuses = new Set<ChangeStatus>();
  let reason = '';
  for (const owners of [tenants, instances]) {
    for (const { changes } of owners) {
      for (const change of changes) {
        statuses.add(change.status);
        if (reason === '') ({ reason } = change);
      }
    }
  }
  return { status: worstStatus(statuses), reason };
}

/** What it has now, the very same, when nothing of it changes: a plan of thousands mostly changes few. */
function grantOf({ memory, cpu, storage, bandwidth }: Divided, index: number, grant: Resources): Resources {
  const isKept =
    memory.amounts[index] === grant.memory &&
    cpu.amounts[index] === grant.cpu &&
    storage.amounts[index] === grant.storage &&
    bandwidth.amounts[index] === grant.bandwidth;
  if (isKept) return grant;
  return {
    memory: memory.amounts[index],
    cpu: cpu.amounts[index],
    storage: storage.amounts[index],
    bandwidth: bandwidth.amounts[index],
  } as Resources;
}

function isSame(a: Resources, b: Resources): boolean {
  return (
    a === b ||
    (a.memory === b.memory && a.cpu === b.cpu && a.storage === b.storage && a.bandwidth === b.bandwidth)
  );
}

/** Whether it is given something else, or asked for something else. */
function isChange({ grant, request, wanted }: InstanceState, after: Resources): boolean {
  return grant !== after || request === null || !isSame(request, wanted);
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
  granted: Resources,
  divided: Divided,
  input: PlanInput,
  groups: PlanGroups,
): PlannedInstanceChange {
  const changes: ResourceChange[] = [];
  for (const resource of resourceKinds) {
    const before = grant[resource];
    const after = granted[resource];
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
      reason: short ? shortageReason(resource, tenant, after, divided[resource], input, groups) : '',
      durationMs: 0,
    });
  }
  return { instance: id, workload, tenant, changes };
}

/** The kernel limits memory by pages: a person is told what is then written, and no odd bytes of a share. */
const pageBytes = 4_096;

function writtenOf(resource: ResourceKind, amount: number): number {
  return resource === 'memory' ? amount - (amount % pageBytes) : amount;
}

function shortageReason(
  resource: ResourceKind,
  tenant: TenantId,
  after: number,
  division: Division,
  input: PlanInput,
  { ofTenant }: PlanGroups,
): string {
  const group = ofTenant.get(tenant);
  const limit = group?.state.wantedLimits[resource] ?? null;
  const limitBinds = limit !== null && (division.shares[group?.place ?? 0] ?? 0) >= limit;
  const sharers = limitBinds && group !== undefined ? group.to - group.from : input.instances.length;
  const scarce = limitBinds
    ? `tenant ${tenant}'s limit of ${formatResource(resource, limit)}`
    : `the unit's ${formatResource(resource, input.capacity[resource])}`;
  return `Granted ${formatResource(resource, writtenOf(resource, after))} of ${resource} for now: ${scarce} is shared by ${sharers} instances.`;
}

/** Instances shrink, then tenants; tenants grow, then instances: no child is ever above its parent because of us. */
function stepsOf(tenants: readonly TenantChange[], instances: readonly PlannedInstanceChange[]): Step[] {
  const ofTenants: Ordered = { shrink: [], grow: [] };
  const ofInstances: Ordered = { shrink: [], grow: [] };
  for (const { tenant, changes } of tenants) {
    for (const { resource, before, after } of changes)
      put({ owner: 'tenant', tenant, resource, before, after }, ofTenants);
  }
  for (const { instance, tenant, changes } of instances) {
    for (const { resource, before, after } of changes)
      put(
        { owner: 'instance', instance, tenant, resource, before: before ?? 0, after: after ?? 0 },
        ofInstances,
      );
  }
  return [...ofInstances.shrink, ...ofTenants.shrink, ...ofTenants.grow, ...ofInstances.grow];
}

interface Ordered {
  readonly shrink: Step[];
  readonly grow: Step[];
}

function put(step: Step, { shrink, grow }: Ordered): void {
  const direction = directionOf(step);
  if (direction < 0) shrink.push(step);
  else if (direction > 0) grow.push(step);
}

/** Below 0: frees. Above 0: claims. 0: nothing to write. */
function directionOf({ before, after }: Step): number {
  return Math.sign((after ?? Number.MAX_VALUE) - (before ?? Number.MAX_VALUE));
}
