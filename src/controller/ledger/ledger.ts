// Who has how much of what. Pure: sums are made from the same lines that are shown, so they add up by construction;
// whether they agree with the kernel's own accounting is what ./differences.ts says.
import { resourceKinds, type Resources } from '../../model/resources.ts';
import { unitKinds } from '../../model/unit-kind.ts';
import type { Tenant } from '../../model/tenant.ts';
import type { InstanceView, LedgerLine, UnitView } from '../control-plane.ts';

export function ledgerOf(
  capacity: Resources,
  units: readonly Pick<UnitView, 'provisioned' | 'claimed' | 'granted' | 'host'>[],
  tenants: readonly Tenant[],
  instances: readonly InstanceView[],
): LedgerLine[] {
  // Only this machine takes nothing of a host.
  const kinds = unitKinds.map((place) => ({
    place,
    units: units.filter(({ host }) => (host === null) === (place === 'host')),
  }));
  const present = kinds.filter((kind) => kind.units.length > 0);
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
    const places = present.map((kind) => ({
      place: kind.place,
      provisioned: sum(kind.units, (unit) => unit.provisioned[resource]),
      granted: sum(kind.units, (unit) => unit.granted[resource]),
      claimed: sum(kind.units, (unit) => unit.claimed[resource]),
    }));
    return {
      resource,
      capacity: capacity[resource],
      provisioned: places[0]?.provisioned ?? 0,
      granted,
      used: sum(lines, (line) => line.used),
      // Out of units, and out of instances on this machine, which is a unit that nothing is claimed of.
      claimed: sum(units, (unit) => unit.claimed[resource]) + sum(lines, (line) => line.claimed),
      unallocated: Math.max(0, capacity[resource] - granted),
      oversubscribed: Math.max(0, granted - capacity[resource]),
      places,
      tenants: lines.map(({ tenant, limit, granted: own, used }) => ({ tenant, limit, granted: own, used })),
    };
  });
}

function sum<T>(items: readonly T[], amount: (item: T) => number): number {
  return items.reduce((total, item) => total + amount(item), 0);
}
