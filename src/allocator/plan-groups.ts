// Who belongs together in a plan's input, looked up instead of searched for: a plan of 10,000 instances asks it for each. Pure.
import type { TenantId, WorkloadKey } from '../base/ids.ts';
import type { ResourceKind } from '../model/resources.ts';
import type { InstanceState, PlanInput, TenantState } from './plan-input.ts';

/** An instance and its place in the input. */
export interface Member {
  readonly instance: InstanceState;
  readonly index: number;
}

export interface PlanGroups {
  readonly states: ReadonlyMap<TenantId, TenantState>;
  /** In order of their ids. */
  readonly ofTenant: ReadonlyMap<TenantId, readonly Member[]>;
}

export function groupsOf({ tenants, instances }: PlanInput): PlanGroups {
  const ofTenant = new Map<TenantId, Member[]>();
  for (const [index, instance] of instances.entries()) {
    const own = ofTenant.get(instance.tenant);
    if (own === undefined) ofTenant.set(instance.tenant, [{ instance, index }]);
    else own.push({ instance, index });
  }
  for (const own of ofTenant.values()) own.sort((a, b) => (a.instance.id < b.instance.id ? -1 : 1));
  return { states: new Map(tenants.map((state) => [state.tenant, state])), ofTenant };
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
