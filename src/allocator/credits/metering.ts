// What a tenant is accounted for: what it had of its own share and what it borrowed, not what it lent. Pure.
// What a unit costs, and over which time it is summed up, is the caller's matter.
import type { TenantId } from '../../base/ids.ts';
import { lentAmounts, type Standing } from './balances.ts';
import type { Balances } from './lend.ts';

/**
 * Unit-seconds, e.g. of bytes. `own` + `borrowed` is what it had; `own` + `lent` + `unused` is its share. Exact up to 2^53,
 * four days of 24 GiB; rounded to doubles beyond that.
 */
export interface Metered {
  readonly own: number;
  readonly borrowed: number;
  /** Others had it: not to be charged to this one. */
  readonly lent: number;
  /** Nobody had it. */
  readonly unused: number;
}

export const nothingMetered: Metered = { own: 0, borrowed: 0, lent: 0, unused: 0 };

/** What each tenant is accounted for `seconds` in which they had what `standings` say. `balances` are those before. */
export function meter(
  standings: readonly Standing[],
  balances: Balances,
  seconds: number,
): ReadonlyMap<TenantId, Metered> {
  const lent = lentAmounts(standings, balances);
  return new Map(
    standings.map(({ tenant, entitled, given }) => {
      const own = Math.min(entitled, given);
      const lentUnits = lent.get(tenant) ?? 0;
      return [
        tenant,
        {
          own: own * seconds,
          borrowed: (given - own) * seconds,
          lent: lentUnits * seconds,
          unused: (entitled - own - lentUnits) * seconds,
        },
      ];
    }),
  );
}

export function addMetered(a: Metered, b: Metered): Metered {
  return {
    own: a.own + b.own,
    borrowed: a.borrowed + b.borrowed,
    lent: a.lent + b.lent,
    unused: a.unused + b.unused,
  };
}
