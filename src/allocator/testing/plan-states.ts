// States of tenants and instances for tests of the planner.
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import { gib, mib, parseBytes } from '../../base/quantity.ts';
import { type Resources } from '../../model/resources.ts';
import { planChange, type Step } from '../plan-change.ts';
import type { InstanceState, PlanInput, ResourceLimits, TenantState } from '../plan-input.ts';

export const vector = (memory: number, cpu = 1_000): Resources =>
  ({ memory, cpu, storage: 512 * mib, bandwidth: 125_000_000 }) as Resources;
export const limits = (memory: number | null, cpu: number | null = null): ResourceLimits =>
  ({ memory, cpu, storage: null, bandwidth: null }) as ResourceLimits;
export const oversubscription = { memory: 1, cpu: 4, storage: 4, bandwidth: 20 };
export const capacity: Resources = { ...vector(8 * gib, 4_000), storage: parseBytes('100GiB') };

export const tenant = (name: string, now: ResourceLimits, wanted = now): TenantState => ({
  tenant: name as TenantId,
  weight: 1,
  limits: now,
  wantedLimits: wanted,
});
export const running = (id: string, workload: string, grant: Resources, wanted = grant): InstanceState => ({
  id: id as InstanceId,
  workload: workload as WorkloadKey,
  tenant: workload.split('/')[0] as TenantId,
  grant,
  request: grant,
  wanted,
  inUse: {},
});
export const plan = (tenants: TenantState[], instances: InstanceState[], change: Partial<PlanInput> = {}) =>
  planChange({ capacity, oversubscription, tenants, instances, ...change });
/** Of a step what a test looks at: whose, of what, from how many MiB to how many. */
export const brief = (step: Step): unknown[] => [
  step.owner === 'tenant' ? step.tenant : step.instance,
  step.resource,
  step.before === null ? null : step.before / mib,
  step.after === null ? null : step.after / mib,
];
