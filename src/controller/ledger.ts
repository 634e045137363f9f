// Who has how much of what. Pure: sums are made from the same lines that are shown, so they add up by construction;
// whether they agree with the kernel's own accounting is what `discrepancies` says.
import type { TenantId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import { resourceKinds, type Resources } from '../model/resources.ts';
import type { Tenant } from '../model/tenant.ts';
import type { InstanceView, LedgerLine, UnitView } from './control-plane.ts';

export function ledgerOf(
  capacity: Resources,
  units: readonly Pick<UnitView, 'provisioned' | 'claimed'>[],
  tenants: readonly Tenant[],
  instances: readonly InstanceView[],
): LedgerLine[] {
  return resourceKinds.map((resource): LedgerLine => {
    const lines = tenants.map((tenant) => {
      const own = instances.filter((instance) => instance.tenant === tenant.id);
      return {
        tenant: tenant.id,
        limit: tenant.limits[resource],
        granted: sum(own, (instance) => instance.grant[resource]),
        used: sum(own, (instance) => instance.used[resource]),
        claimed: sum(own, (instance) => instance.claimed[resource]),
      };
    });
    const granted = sum(lines, (line) => line.granted);
    return {
      resource,
      capacity: capacity[resource],
      provisioned: sum(units, (unit) => unit.provisioned[resource]),
      granted,
      used: sum(lines, (line) => line.used),
      // Out of units, and out of instances on this machine, which is a unit that nothing is claimed of.
      claimed: sum(units, (unit) => unit.claimed[resource]) + sum(lines, (line) => line.claimed),
      unallocated: Math.max(0, capacity[resource] - granted),
      oversubscribed: Math.max(0, granted - capacity[resource]),
      tenants: lines.map(({ tenant, limit, granted: own, used }) => ({ tenant, limit, granted: own, used })),
    };
  });
}

export interface Discrepancy {
  readonly tenant: TenantId;
  readonly ledgerBytes: number;
  readonly kernelBytes: number;
}

/**
 * Instances are measured one after another, each within a millisecond, and the group last: a program may allocate in
 * between. Charges also stay with a tenant's group for pages that outlive their instance until they are reclaimed.
 */
const toleranceBytes = 32 * mib;
const toleranceShare = 0.1;

/** Tenants whose group uses more or less than its instances together, by the kernel's word on both. */
export function discrepancies(
  groups: readonly { readonly tenant: TenantId; readonly memoryBytes: number }[],
  instances: readonly { readonly tenant: TenantId; readonly memoryBytes: number }[],
): Discrepancy[] {
  return groups.flatMap(({ tenant, memoryBytes: kernelBytes }) => {
    const ledgerBytes = sum(
      instances.filter((instance) => instance.tenant === tenant),
      (instance) => instance.memoryBytes,
    );
    const tolerated = Math.max(toleranceBytes, toleranceShare * kernelBytes);
    return Math.abs(kernelBytes - ledgerBytes) > tolerated ? [{ tenant, ledgerBytes, kernelBytes }] : [];
  });
}

function sum<T>(items: readonly T[], amount: (item: T) => number): number {
  return items.reduce((total, item) => total + amount(item), 0);
}
