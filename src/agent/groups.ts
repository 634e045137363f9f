// Where resource groups stand below Bellows' root group. Pure.
//
//   pool/SLOT                    an unbound process
//   tenants/TENANT               the tenant's limit
//   tenants/TENANT/INSTANCE      an instance's limit
import type { InstanceId, TenantId } from '../base/ids.ts';
import type { GroupPath } from './cgroup/port.ts';
import type { SlotName } from './slot.ts';

export const rootGroup: GroupPath = [];
export const poolGroup: GroupPath = ['pool'];
export const tenantsGroup: GroupPath = ['tenants'];
/** A group per pooled process: what it was charged there does not move with it, and goes with the group. */
export const slotGroup = (slot: SlotName): GroupPath => [...poolGroup, slot];
export const groupOfTenant = (tenant: TenantId): GroupPath => [...tenantsGroup, tenant];
export const groupOfInstance = (tenant: TenantId, id: InstanceId): GroupPath => [...tenantsGroup, tenant, id];
