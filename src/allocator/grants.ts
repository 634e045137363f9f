// What every instance may use of one resource: capacity is divided among tenants first, then within each tenant
// among its instances; and each time first what is demanded, then what is left of it, up to what is asked for. So while there is
// room everybody has what it asks for, and when there is not, what somebody does not demand is lent to who does.
// Owns the hierarchy; the division itself is fair-share.ts, and who is served first of what others lend is
// credits/lend.ts, a step between the two here. Pure; alike for all four resources.
import type { InstanceId, TenantId } from '../base/ids.ts';
import { fairShare, type Claim } from './fair-share.ts';

export interface InstanceClaim {
  readonly id: InstanceId;
  /** What its workload asks for: the most it is given. */
  readonly request: number;
  /** What it would use now and soon, see demand/: at most the request counts; the request itself when it is absent. */
  readonly demand?: number;
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

/** The first step: what each tenant has for all its instances, of `room`. @param lend see {@link dividedShares} */
export function divideAmong(
  room: number,
  tenants: readonly TenantClaim[],
  lend: Lending = unchanged,
): ReadonlyMap<TenantId, number> {
  const ordered = inOrder(tenants, ({ tenant }) => tenant);
  const shares = dividedShares(room, ordered.map(demandOfTenant), ordered.map(claimOfTenant), lend);
  return new Map(ordered.map(({ tenant }, index) => [tenant, shares[index] ?? 0]));
}

/** Hands out anew what tenants have of others' shares: the sum stays, and so does what each keeps of its own. */
export type Lending = (room: number, shares: readonly number[]) => readonly number[];
const unchanged: Lending = (_room, shares) => shares;

/**
 * Of `room`, first what is demanded, then up to what is asked for; in the order of the claims, which are of the same owners.
 * Whoever overstates its demand gains by it what it would by asking for more: nothing above its fair part of what is scarce.
 * @param lend who is first at what others do not demand, where not all that is demanded is there
 */
export function dividedShares(
  room: number,
  demanded: readonly Claim[],
  asked: readonly Claim[],
  lend: Lending = unchanged,
): readonly number[] {
  const fair = fairShare(room, demanded);
  const first = sum(fair) < room ? fair : lend(room, fair);
  if (sum(first) >= room) return first;
  return fairShare(
    room,
    asked.map((claim, index) => ({ ...claim, floor: first[index] ?? 0 })),
  );
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
export function divideShare(share: number, claims: readonly InstanceClaim[]): readonly number[] {
  let requested = 0;
  for (const { request } of claims) requested += request;
  if (requested <= share) return claims.map(({ request }) => request);
  const ordered = inOrder(claims, ({ id }) => id);
  const grants = dividedShares(share, ordered.map(demandOfInstance), ordered.map(claimOfInstance));
  if (ordered === claims) return grants;
  const byId = new Map(ordered.map(({ id }, at) => [id, grants[at] ?? 0]));
  return claims.map(({ id }) => byId.get(id) ?? 0);
}

function claimOfInstance({ request, floor }: InstanceClaim): Claim {
  return { demand: request, floor, limit: request, weight: 1 };
}

function demandOfInstance({ request, demand = request, floor }: InstanceClaim): Claim {
  return { demand, floor, limit: request, weight: 1 };
}

/** All its instances together, as one claim of what they ask for. */
export function claimOfTenant(tenant: TenantClaim): Claim {
  return together(tenant, ({ request }) => request);
}

/** All its instances together, as one claim of what they demand. */
export function demandOfTenant(tenant: TenantClaim): Claim {
  return together(tenant, demandedBy);
}

/** What counts of its demand: at least its floor, at most its request. */
export function demandedBy({ request, demand = request, floor }: Omit<InstanceClaim, 'id'>): number {
  return Math.min(request, Math.max(demand, floor));
}

function together(
  { limit, weight, instances }: TenantClaim,
  demandOf: (one: InstanceClaim) => number,
): Claim {
  let demand = 0;
  let floor = 0;
  for (const instance of instances) {
    demand += demandOf(instance);
    floor += Math.min(instance.floor, instance.request);
  }
  return { demand, floor, limit: limit ?? Number.POSITIVE_INFINITY, weight };
}

function sum(amounts: readonly number[]): number {
  let total = 0;
  for (const amount of amounts) total += amount;
  return total;
}
