// The parts of a workload's key, which the APIs show one by one. Pure.
import type { TenantId, WorkloadKey, WorkloadName } from '../base/ids.ts';

/** NAME of `TENANT/NAME`; neither part can hold a slash. */
export function nameInKey(key: WorkloadKey): WorkloadName {
  return key.slice(key.indexOf('/') + 1) as WorkloadName;
}

export function tenantInKey(key: WorkloadKey): TenantId {
  return key.slice(0, key.indexOf('/')) as TenantId;
}
