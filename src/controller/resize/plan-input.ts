// What the planner is told of the present and of what is wanted. Pure: gathers from the states that are passed in.
import type { InstanceState, PlanInput, ResourceLimits, TenantState } from '../../allocator/plan-input.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import type { PartialResources, Resources } from '../../model/resources.ts';
import type { Tenant, TenantLimits } from '../../model/tenant.ts';
import type { Workload } from '../../model/workload.ts';
import { noResources } from '../../units/no-resources.ts';
import { knownOf, type Tracked } from '../state/actual.ts';
import type { WorkloadRecord } from '../state/records.ts';

/** What is asked to be otherwise, and only that: the rest stays as it stands when the plan is made. Nothing for a re-division. */
export interface Wish {
  readonly limits?: { readonly tenant: TenantId; readonly wanted: Partial<ResourceLimits> };
  readonly request?: { readonly workload: WorkloadKey; readonly wanted: PartialResources };
}

export interface Present {
  readonly capacity: Resources;
  readonly memoryOversubscription: number;
  readonly tenants: readonly Tenant[];
  /** Limits that the kernel holds where they are not yet the stored ones. */
  readonly enforced: ReadonlyMap<TenantId, Partial<ResourceLimits>>;
  readonly instances: readonly Tracked[];
  readonly record: (key: WorkloadKey) => WorkloadRecord | undefined;
  readonly workingSet: (id: InstanceId) => number | undefined;
  readonly stored: (id: InstanceId) => number | undefined;
  /** See `PlanInput.demandOf`. @param isHurried somebody waits to start. @param request what it is to ask for */
  readonly demandOf: (tracked: Tracked, isHurried: boolean, request: Resources) => PartialResources;
  readonly balances: PlanInput['balances'];
  /** Those among the waiting that are to have their share of what the plan divides. */
  readonly coming: ReadonlySet<InstanceId>;
}

function resourceLimits({ limits }: Pick<Tenant, 'limits'>): ResourceLimits {
  return { memory: limits.memory, cpu: limits.cpu, storage: limits.storage, bandwidth: limits.bandwidth };
}

/** The limits that a unit enforces, out of those that were named. */
export function namedLimits(limits: Partial<TenantLimits>): Partial<ResourceLimits> {
  const { connections: _connections, concurrency: _concurrency, requests: _requests, ...resources } = limits;
  return resources;
}

export function planInput(present: Present, wish: Wish): PlanInput {
  const tenants = present.tenants.map((tenant): TenantState => {
    const stored = resourceLimits(tenant);
    return {
      tenant: tenant.id,
      weight: tenant.weight,
      limits: { ...stored, ...present.enforced.get(tenant.id) },
      wantedLimits: wish.limits?.tenant === tenant.id ? { ...stored, ...wish.limits.wanted } : stored,
    };
  });
  const ids = new Set(tenants.map(({ tenant }) => tenant));
  const tracked = new Map<InstanceId, Tracked>();
  const isHurried = present.coming.size > 0;
  const demands = new Map<InstanceId, PartialResources>();
  const instances: InstanceState[] = [];
  for (const each of present.instances) {
    const { spec, life } = each;
    const isComing = life.phase === 'waiting' && present.coming.has(spec.id);
    // Nothing is granted to one that rests on disk, until it wakes.
    if (knownOf(each)?.info.state === 'hibernated') continue;
    if (!ids.has(spec.tenant) || life.phase === 'stopping' || (life.phase === 'waiting' && !isComing))
      continue;
    tracked.set(spec.id, each);
    const request = requestOf(present.record(spec.workload), each);
    instances.push({
      id: spec.id,
      workload: spec.workload,
      tenant: spec.tenant,
      grant: isComing ? noResources : (knownOf(each)?.info.grant ?? spec.grant),
      request,
      wanted: wish.request?.workload === spec.workload ? withChange(request, wish.request.wanted) : request,
      inUse: inUse(present.workingSet(spec.id), present.stored(spec.id)),
    });
  }
  return {
    capacity: measuredCapacity(present.capacity),
    oversubscription: oversubscription(present.memoryOversubscription),
    tenants,
    instances,
    demandOf: ({ id, wanted }) => {
      // Asked for once for each resource.
      let demand = demands.get(id);
      if (demand === undefined) {
        const own = tracked.get(id);
        demand = own === undefined ? {} : present.demandOf(own, isHurried, wanted);
        demands.set(id, demand);
      }
      return demand;
    },
    ...(present.balances === undefined ? {} : { balances: present.balances }),
  };
}

/** Instances that do not run, to find out whether what their workload asks could ever be given. */
export function phantoms(
  workload: Workload,
  request: Resources | null,
  wanted: Resources,
  count: number,
): InstanceState[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `${workload.key}#${index}` as InstanceId,
    workload: workload.key,
    tenant: workload.tenant,
    grant: noResources,
    request,
    wanted,
    inUse: {},
  }));
}

export function withChange(request: Resources, change: PartialResources): Resources {
  return {
    memory: change.memory ?? request.memory,
    cpu: change.cpu ?? request.cpu,
    storage: change.storage ?? request.storage,
    bandwidth: change.bandwidth ?? request.bandwidth,
  };
}

/** What its owner asks for one instance of its generation. */
export function requestOf(record: WorkloadRecord | undefined, { spec }: Tracked): Resources {
  if (record?.candidate?.generation === spec.generation) return record.candidate.request;
  return record?.current?.request ?? spec.grant;
}

function inUse(workingSetBytes: number | undefined, storedBytes: number | undefined): PartialResources {
  return {
    memory: workingSetBytes as Resources['memory'] | undefined,
    storage: storedBytes as Resources['storage'] | undefined,
  };
}

/** A unit that can not measure a resource says 0, which must not mean that nobody may have any. */
function measuredCapacity(capacity: Resources): Resources {
  const known = (amount: number): number => (amount === 0 ? Number.POSITIVE_INFINITY : amount);
  return {
    memory: known(capacity.memory) as Resources['memory'],
    cpu: known(capacity.cpu) as Resources['cpu'],
    storage: known(capacity.storage) as Resources['storage'],
    bandwidth: known(capacity.bandwidth) as Resources['bandwidth'],
  };
}

/** Memory that is not there kills; time and bandwidth that are not there are waited for, so their grants are upper limits. */
function oversubscription(memory: number): PlanInput['oversubscription'] {
  const unbounded = Number.POSITIVE_INFINITY;
  return { memory, cpu: unbounded, storage: unbounded, bandwidth: unbounded };
}
