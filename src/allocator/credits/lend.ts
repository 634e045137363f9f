// Who gets what others do not use: those who have lent most themselves, first. A second step after the max-min division among
// tenants (../grants.ts), which it leaves as it is but for what is above everybody's own share. Pure. How credits are
// earned and paid is ./balances.ts.
//
// After Karma (OSDI 2023): everybody keeps what it wants of its own share; what is left is handed out unit by unit to the
// borrower that has most credit after it has paid for what it has borrowed so far. That is pouring water on ground as high as
// each borrower's lack of credit, so ../fair-share.ts does it, with all its properties.
import type { TenantId } from '../../base/ids.ts';
import { fairShare, type Claim } from '../fair-share.ts';
import {
  demandOfTenant,
  divideAmong,
  divideWithin,
  grantable,
  inOrder,
  type Grants,
  type Lending,
  type TenantClaim,
} from '../grants.ts';
import { entitledShares } from './entitlement.ts';

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
  const ordered = inOrder(tenants, ({ tenant }) => tenant);
  const lend = lendingByCredit(
    ordered.map(({ tenant }) => tenant),
    ordered.map(demandOfTenant),
    balances,
  );
  return divideWithin(tenants, divideAmong(room, ordered, lend));
}

interface Borrower {
  readonly index: number;
  readonly weight: number;
  /** Its own share, or what it needs in any case above that. */
  readonly kept: number;
  readonly entitled: number;
  readonly want: number;
}

/**
 * The step of `dividedShares` in ../grants.ts that serves by credit.
 * @param tenants all of them, those that demand nothing, too: whose `demanded` stand in the same order
 */
export function lendingByCredit(
  tenants: readonly TenantId[],
  demanded: readonly Claim[],
  balances: Balances,
): Lending {
  return (room, shares) => {
    // With room for all, or with no difference in credit, there is nothing to be first at.
    if (room === Number.POSITIVE_INFINITY || balances.size === 0) return shares;
    return lend(room, tenants, demanded, shares, balances);
  };
}

function lend(
  room: number,
  tenants: readonly TenantId[],
  demanded: readonly Claim[],
  shares: readonly number[],
  balances: Balances,
): readonly number[] {
  const entitled = entitledShares(room, demanded);
  const result = [...shares];
  const borrowers: Borrower[] = [];
  let surplus = 0;
  for (const [index, { demand, floor, limit, weight }] of demanded.entries()) {
    const share = shares[index] ?? 0;
    const own = entitled[index] ?? 0;
    const want = Math.min(Math.max(demand, floor), limit);
    const kept = Math.min(share, Math.max(own, floor));
    if (want <= kept) continue;
    surplus += share - kept;
    borrowers.push({ index, weight, kept, entitled: own, want });
  }
  const creditOf = ({ index }: Borrower): number => balances.get(tenants[index] as TenantId) ?? 0;
  let richest = Number.NEGATIVE_INFINITY;
  for (const borrower of borrowers) richest = Math.max(richest, creditOf(borrower));
  const ground = borrowers.map((borrower) => Math.floor((richest - creditOf(borrower)) / horizonSeconds));
  const claims = borrowers.map(({ weight, kept, entitled: own, want }, at) => ({
    floor: (ground[at] ?? 0) + Math.max(0, kept - own),
    demand: (ground[at] ?? 0) + want - Math.min(own, kept),
    limit: Number.POSITIVE_INFINITY,
    weight,
  }));
  const levels = fairShare(surplus + claims.reduce((sum, { floor }) => sum + floor, 0), claims);
  for (const [at, { index, kept }] of borrowers.entries())
    result[index] = kept + (levels[at] ?? 0) - (claims[at]?.floor ?? 0);
  return result;
}
