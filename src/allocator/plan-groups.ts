// Who belongs together in a plan's input, looked up instead of searched for: a plan of 10,000 instances asks it for each. Pure.
import type { TenantId, WorkloadKey } from '../base/ids.ts';
import type { ResourceKind } from '../model/resources.ts';
import { inOrder } from './grants.ts';
import type { InstanceState, PlanInput, TenantState } from './plan-input.ts';

/** An instance and its place in the input. */
export interface Member {
  readonly instance: InstanceState;
  readonly index: number;
}

/** A tenant with its instances, in order of their ids. */
export interface TenantGroup {
  readonly state: TenantState;
  /** Among the tenants, in order of their ids. */
  readonly place: number;
  readonly members: readonly Member[];
}

export interface PlanGroups {
  /** In order of their ids: which one gets the odd unit must not depend on how the caller lists them. */
  readonly tenants: readonly TenantGroup[];
  readonly ofTenant: ReadonlyMap<TenantId, TenantGroup>;
}

export function groupsOf({ tenants, instances }: PlanInput): PlanGroups {
  const members = new Map<TenantId, Member[]>();
  const groups = inOrder(tenants, ({ tenant }) => tenant).map((state, place) => {
    const own: Member[] = [];
    members.set(state.tenant, own);
    return { state, place, members: own };
  });
  let index = 0;
  for (const instance of instances) {
    members.get(instance.tenant)?.push({ instance, index });
    index += 1;
  }
  for (const own of members.values()) own.sort((a, b) => (a.instance.id < b.instance.id ? -1 : 1));
  return { tenants: groups, ofTenant: new Map(groups.map((group) => [group.state.tenant, group])) };
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
