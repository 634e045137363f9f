// Who belongs together in a plan's input, looked up instead of searched for: a plan of 10,000 instances asks it for each. Pure.
import type { TenantId, WorkloadKey } from '../base/ids.ts';
import type { ResourceKind } from '../model/resources.ts';
import { inOrder } from './grants.ts';
import type { PlanInput, TenantState } from './plan-input.ts';

/** A tenant and where its instances are. */
export interface TenantGroup {
  readonly state: TenantState;
  /** Among the tenants, in order of their ids. */
  readonly place: number;
  /** Its instances stand together in {@link PlanGroups.order}, from here … */
  readonly from: number;
  /** … to before here. */
  readonly to: number;
}

export interface PlanGroups {
  /** In order of their ids: which one gets the odd unit must not depend on how the caller lists them. */
  readonly tenants: readonly TenantGroup[];
  readonly ofTenant: ReadonlyMap<TenantId, TenantGroup>;
  /** All instances, tenant after tenant, each one's in order of their ids, as their places in the input. */
  readonly order: Uint32Array;
}

export function groupsOf({ tenants, instances }: PlanInput): PlanGroups {
  const ordered = inOrder(tenants, ({ tenant }) => tenant);
  const placeOf = new Map(ordered.map(({ tenant }, place) => [tenant, place]));
  // Counted, then put where they belong: instances that are met one after the other are not searched for all over the memory.
  const places = new Uint32Array(instances.length);
  const ends = new Uint32Array(ordered.length);
  let index = 0;
  for (const { tenant } of instances) {
    const place = placeOf.get(tenant) ?? 0;
    places[index] = place;
    ends[place] = (ends[place] ?? 0) + 1;
    index += 1;
  }
  let to = 0;
  const groups = ordered.map((state, place): TenantGroup => {
    const from = to;
    to += ends[place] ?? 0;
    ends[place] = from;
    return { state, place, from, to };
  });
  const order = new Uint32Array(instances.length);
  for (index = 0; index < places.length; index += 1) {
    const place = places[index] ?? 0;
    const end = ends[place] ?? 0;
    order[end] = index;
    ends[place] = end + 1;
  }
  const idAt = (at: number): string => instances[at]?.id ?? '';
  for (const { from, to: end } of groups) {
    let isOrdered = true;
    for (let at = from + 1; at < end && isOrdered; at += 1)
      isOrdered = idAt(order[at - 1] ?? 0) < idAt(order[at] ?? 0);
    if (!isOrdered) order.subarray(from, end).sort((a, b) => (idAt(a) < idAt(b) ? -1 : 1));
  }
  return { tenants: groups, ofTenant: new Map(groups.map((group) => [group.state.tenant, group])), order };
}

/** The instances of one workload together. */
export interface Siblings {
  count: number;
  readonly wanted: Record<ResourceKind, number>;
}

/** Of every workload. Asked for only when something new is asked for: most plans follow from limits and room. */
export function siblingsOf({ instances }: PlanInput): ReadonlyMap<WorkloadKey, Readonly<Siblings>> {
  const all = new Map<WorkloadKey, Siblings>();
  for (const { workload, wanted } of instances) {
    let siblings = all.get(workload);
    if (siblings === undefined) {
      siblings = { count: 0, wanted: { memory: 0, cpu: 0, storage: 0, bandwidth: 0 } };
      all.set(workload, siblings);
    }
    siblings.count += 1;
    siblings.wanted.memory += wanted.memory;
    siblings.wanted.cpu += wanted.cpu;
    siblings.wanted.storage += wanted.storage;
    siblings.wanted.bandwidth += wanted.bandwidth;
  }
  return all;
}
