// Who has how much of what. Pure: sums are made from the same lines that are shown, so they add up by construction;
// whether they agree with the kernel's own accounting is what ./differences.ts says.
import { resourceKinds, type Resources } from '../../model/resources.ts';
import type { Tenant } from '../../model/tenant.ts';
import type { InstanceView, LedgerLine, UnitView } from '../control-plane.ts';

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

function sum<T>(items: readonly T[], amount: (item: T) => number): number {
  return items.reduce((total, item) => total + amount(item), 0);
}
