// Who gets what others do not use: those who have lent most themselves, first. A second step after the max-min division among
// tenants (../grants.ts), which it leaves as it is but for what is above everybody's own share. Pure. How credits are
// earned and paid is ./balances.ts.
//
// After Karma (OSDI 2023): everybody keeps what it wants of its own share; what is left is handed out unit by unit to the
// borrower that has most credit after it has paid for what it has borrowed so far. That is pouring water on ground as high as
// each borrower's lack of credit, so ../fair-share.ts does it, with all its properties.
import type { TenantId } from '../../base/ids.ts';
import { fairShare } from '../fair-share.ts';
import {
  claimOfTenant,
  divideAmong,
  divideWithin,
  grantable,
  inOrder,
  type Grants,
  type TenantClaim,
} from '../grants.ts';
import { entitlements } from './entitlement.ts';

/** Credits, in units of the resource times seconds; who is not in it has none. Sum 0: see ./balances.ts. */
export type Balances = ReadonlyMap<TenantId, number>;

/**
 * So many seconds of a borrowed unit cost as much as one unit of it weighs: borrowers whose credits differ by less than what
 * they would pay in that time share, others are served one after the other. Short, and a small difference would move much back
 * and forth; long, and credit would count for little.
 */
export const horizonSeconds = 60;

/** Divides like `divide` of ../grants.ts, the same sum at the same limits and floors, but what is lent goes by credit. */
export function divideByCredit(
  capacity: number,
  oversubscription: number,
  tenants: readonly TenantClaim[],
  balances: Balances,
): Grants {
  const room = grantable(capacity, oversubscription);
  return divideWithin(tenants, lend(room, tenants, divideAmong(room, tenants), balances));
}

interface Borrower {
  readonly tenant: TenantId;
  readonly weight: number;
  /** Its own share, or what it needs in any case above that. */
  readonly kept: number;
  readonly entitled: number;
  readonly want: number;
}

/** `shares`: what max-min gives each tenant. Requires all of them to be listed, those that demand nothing, too. */
function lend(
  room: number,
  tenants: readonly TenantClaim[],
  shares: ReadonlyMap<TenantId, number>,
  balances: Balances,
): ReadonlyMap<TenantId, number> {
  // With room for all there is nothing to be first at.
  if (room === Number.POSITIVE_INFINITY) return shares;
  const entitled = entitlements(room, tenants);
  const result = new Map(shares);
  const borrowers: Borrower[] = [];
  let surplus = 0;
  for (const claim of inOrder(tenants, ({ tenant }) => tenant)) {
    const { tenant, weight } = claim;
    const { demand, floor, limit } = claimOfTenant(claim);
    const share = shares.get(tenant) ?? 0;
    const own = entitled.get(tenant) ?? 0;
    const want = Math.min(Math.max(demand, floor), limit);
    const kept = Math.min(share, Math.max(own, floor));
    if (want <= kept) continue;
    surplus += share - kept;
    borrowers.push({ tenant, weight, kept, entitled: own, want });
  }
  const richest = Math.max(...borrowers.map(({ tenant }) => balances.get(tenant) ?? 0));
  const ground = borrowers.map(({ tenant }) =>
    Math.floor((richest - (balances.get(tenant) ?? 0)) / horizonSeconds),
  );
  const claims = borrowers.map(({ weight, kept, entitled: own, want }, index) => ({
    floor: (ground[index] ?? 0) + Math.max(0, kept - own),
    demand: (ground[index] ?? 0) + want - Math.min(own, kept),
    limit: Number.POSITIVE_INFINITY,
    weight,
  }));
  const levels = fairShare(surplus + claims.reduce((sum, { floor }) => sum + floor, 0), claims);
  for (const [index, { tenant, kept }] of borrowers.entries())
    result.set(tenant, kept + (levels[index] ?? 0) - (claims[index]?.floor ?? 0));
  return result;
}
