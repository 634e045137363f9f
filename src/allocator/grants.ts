// What every instance may use of one resource: capacity is divided among tenants first, then within each tenant
// among its instances. Owns the hierarchy; the division itself is fair-share.ts, and who is served first of what others lend
// is credits/lend.ts, a step between the two here. Pure; alike for all four resources.
import type { InstanceId, TenantId } from '../base/ids.ts';
import { fairShare, type Claim } from './fair-share.ts';

export interface InstanceClaim {
  readonly id: InstanceId;
  /** What its workload asks for: the most it is given. */
  readonly request: number;
  /** What it needs in any case; a request below it counts. */
  readonly floor: number;
}

export interface TenantClaim {
  readonly tenant: TenantId;
  /** The most all its instances may have together; null is no limit of its own. Holds even when floors need more. */
  readonly limit: number | null;
  readonly weight: number;
  readonly instances: readonly InstanceClaim[];
}

export interface Grants {
  /** The sums of the tenants' instances. */
  readonly tenants: ReadonlyMap<TenantId, number>;
  readonly instances: ReadonlyMap<InstanceId, number>;
}

/** Which one gets the odd unit must not depend on the order the caller happens to list them in. */
export function inOrder<T>(items: readonly T[], idOf: (item: T) => string): readonly T[] {
  const compare = (a: T, b: T): number => (idOf(a) < idOf(b) ? -1 : idOf(a) > idOf(b) ? 1 : 0);
  const isOrdered = items.every((item, at) => {
    const before = items[at - 1];
    return before === undefined || compare(before, item) <= 0;
  });
  return isOrdered ? items : items.toSorted(compare);
}

/**
 * Divides `capacity`, in whole base units. No instance gets more than its request, no tenant more than its limit, and
 * together they get no more than `capacity` times `oversubscription`; nobody is below its request while the tenant's
 * limit and the capacity leave room. `oversubscription` is 1 for what must not run out, more where not everybody uses
 * everything at once; Infinity makes every grant a mere upper limit.
 */
export function divide(capacity: number, oversubscription: number, tenants: readonly TenantClaim[]): Grants {
  return divideWithin(tenants, divideAmong(grantable(capacity, oversubscription), tenants));
}

/** How much may be granted in all. */
export function grantable(capacity: number, oversubscription: number): number {
  return capacity === 0 ? 0 : capacity * oversubscription;
}

/** The first step: what each tenant has for all its instances, of `room`. */
export function divideAmong(room: number, tenants: readonly TenantClaim[]): ReadonlyMap<TenantId, number> {
  const ordered = inOrder(tenants, ({ tenant }) => tenant);
  const shares = fairShare(room, ordered.map(claimOfTenant));
  return new Map(ordered.map(({ tenant }, index) => [tenant, shares[index] ?? 0]));
}

/** The second step: each tenant's share among its instances, however the share came about. */
export function divideWithin(tenants: readonly TenantClaim[], shares: ReadonlyMap<TenantId, number>): Grants {
  const instances = new Map<InstanceId, number>();
  for (const { tenant, instances: claims } of tenants) {
    const grants = divideShare(shares.get(tenant) ?? 0, claims);
    for (const [at, { id }] of claims.entries()) instances.set(id, grants[at] ?? 0);
  }
  return { tenants: shares, instances };
}

/** One tenant's share among its instances, in the order of these; ties go by id. */
export function divideShare(share: number, claims: readonly InstanceClaim[]): number[] {
  let requested = 0;
  for (const { request } of claims) requested += request;
  if (requested <= share) return claims.map(({ request }) => request);
  const ordered = inOrder(claims, ({ id }) => id);
  const grants = fairShare(share, ordered.map(claimOfInstance));
  if (ordered === claims) return grants;
  const byId = new Map(ordered.map(({ id }, at) => [id, grants[at] ?? 0]));
  return claims.map(({ id }) => byId.get(id) ?? 0);
}

function claimOfInstance({ request, floor }: InstanceClaim): Claim {
  return { demand: request, floor, limit: request, weight: 1 };
}

/** All its instances together, as one claim. */
export function claimOfTenant({ limit, weight, instances }: TenantClaim): Claim {
  let demand = 0;
  let floor = 0;
  for (const instance of instances) {
    demand += instance.request;
    floor += Math.min(instance.floor, instance.request);
  }
  return { demand, floor, limit: limit ?? Number.POSITIVE_INFINITY, weight };
}
