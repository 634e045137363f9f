// What a plan is made from and the shapes that its parts share: see plan-change.ts. Types only.
import type { InstanceId, TenantId, WorkloadKey } from '../base/ids.ts';
import type { InstanceChange } from '../model/change.ts';
import type { PartialResources, ResourceKind, Resources } from '../model/resources.ts';
import type { TenantLimits } from '../model/tenant.ts';
import type { Balances } from './credits/lend.ts';

export type ResourceLimits = Pick<TenantLimits, ResourceKind>;

export interface TenantState {
  readonly tenant: TenantId;
  readonly weight: number;
  /** In force now. */
  readonly limits: ResourceLimits;
  /** To be in force. */
  readonly wantedLimits: ResourceLimits;
}

export interface InstanceState {
  readonly id: InstanceId;
  readonly workload: WorkloadKey;
  readonly tenant: TenantId;
  /** What the kernel enforces now; zeros for an instance that is about to start. */
  readonly grant: Resources;
  /** What its workload asked for until now; null when it is about to start. */
  readonly request: Resources | null;
  /** What its workload asks for from now on. */
  readonly wanted: Resources;
  /** What can not be taken away at this moment, e.g. its working set: where room is scarce, others shrink first. */
  readonly inUse: PartialResources;
}

export interface PlanInput {
  /** The unit's; Infinity for what is not measured there. */
  readonly capacity: Resources;
  /** By how much grants may exceed the capacity, see `divide` in grants.ts. */
  readonly oversubscription: Readonly<Record<ResourceKind, number>>;
  readonly tenants: readonly TenantState[];
  /** All that run in the unit or are about to; each one's tenant is among `tenants`. */
  readonly instances: readonly InstanceState[];
  /**
   * What an instance would use now and soon (demand/): where not all have what they ask for, that is divided first. Asked only
   * then, so it may cost something. Absent, or of a resource that is not named: what the instance asks for.
   */
  readonly demandOf?: (instance: InstanceState) => PartialResources;
  /** Who has lent memory, and is served first where there is less than is demanded; absent: all alike. */
  readonly balances?: Balances;
}

/** A plan does not know of connections: it keeps them all. */
export type PlannedInstanceChange = Omit<InstanceChange, 'connections'>;
