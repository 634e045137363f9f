// How much of a unit its instances may use, and what is claimed for that: what was provisioned less what is granted.
// Pure arithmetic. Claiming and releasing is unit.ts's.
import type { Bytes, BytesPerSecond, Millicores } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import { unitCpuOverheadMillicores } from './config.ts';

/** What the unit leaves to its instances: the sum of their grants, and never more than was provisioned. */
export function usableFor(provisioned: Resources, grants: readonly Resources[]): Resources {
  const usable = (kind: keyof Resources): number =>
    Math.min(
      provisioned[kind],
      grants.reduce((sum, grant) => sum + grant[kind], 0),
    );
  return {
    memory: usable('memory') as Bytes,
    cpu: usable('cpu') as Millicores,
    storage: usable('storage') as Bytes,
    bandwidth: usable('bandwidth') as BytesPerSecond,
  };
}

export function sumOf(amounts: readonly Resources[]): Resources {
  const sum = (kind: keyof Resources): number => amounts.reduce((total, amount) => total + amount[kind], 0);
  return {
    memory: sum('memory') as Bytes,
    cpu: sum('cpu') as Millicores,
    storage: sum('storage') as Bytes,
    bandwidth: sum('bandwidth') as BytesPerSecond,
  };
}

/**
 * The quota of QEMU's group: the guest's kernel, its agent and the emulation take from it, too. Never above the tenant's,
 * for that of a group below another's must not be (cgroup v1 refuses it).
 * @param tenantMillicores the limit of the tenant whose machine it is; null without one
 */
export function hostQuota(usable: Resources, tenantMillicores: number | null): number {
  return Math.min(usable.cpu, tenantMillicores ?? Infinity) + unitCpuOverheadMillicores;
}

/** The quota of the group of all of a tenant's QEMUs: its limit, and what one of them needs for itself. */
export function hostQuotaOfTenant(limitMillicores: number | null): number | null {
  return limitMillicores === null ? null : limitMillicores + unitCpuOverheadMillicores;
}

/**
 * What to leave a unit whose instances are all frozen: what they hold now and a little to begin with. Everything else
 * is given back before they run again.
 */
export function usableWhileIdle(
  grantedMemoryBytes: number,
  usedBytes: number,
  idleSpareBytes: number,
): number {
  return Math.min(grantedMemoryBytes, usedBytes + idleSpareBytes);
}
