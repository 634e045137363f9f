// Credits: what a tenant lends below its own share earns them, what it borrows above it costs them. Pure: from balances and
// what everybody had, to balances. What credits are good for is ./lend.ts.
//
// Every credit that is earned is paid by somebody at that moment, so all balances together are always 0. They are bounded: who
// has lent for long is first, but not for ever, and who has nothing left borrows what nobody with credit wants, free.
import type { TenantId } from '../../base/ids.ts';
import { fairShare } from '../fair-share.ts';
import type { Balances } from './lend.ts';

/** An hour of the whole share, lent or borrowed: longer ago nobody remembers what he gave. */
const boundSeconds = 3_600;

/** What a tenant had for some time, in whole base units. */
export interface Standing {
  readonly tenant: TenantId;
  readonly entitled: number;
  readonly given: number;
}

/** The most that a tenant can be owed, or owe, in unit-seconds. */
export function creditBound({ entitled }: Pick<Standing, 'entitled'>): number {
  return entitled * boundSeconds;
}

/** How much of its own share each tenant leaves to others who really have it: who has least credit lends first. Whole units. */
export function lentAmounts(
  standings: readonly Standing[],
  balances: Balances,
): ReadonlyMap<TenantId, number> {
  const borrowed = sum(standings.map(({ entitled, given }) => Math.max(0, given - entitled)));
  const spare = standings.map(({ entitled, given }) => Math.max(0, entitled - given));
  const lent = byNeed(
    Math.min(borrowed, sum(spare)),
    spare,
    standings.map((each) => balanceOf(balances, each)),
  );
  return new Map(standings.map(({ tenant }, index) => [tenant, lent[index] ?? 0]));
}

/** Balances after `seconds` in which tenants had what `standings` say. All tenants are listed. */
export function settle(balances: Balances, standings: readonly Standing[], seconds: number): Balances {
  const lent = lentAmounts(standings, balances);
  const credit = standings.map((each) => balanceOf(balances, each));
  const earnable = standings.map((each, index) =>
    Math.floor(
      Math.min((lent.get(each.tenant) ?? 0) * seconds, Math.max(0, creditBound(each) - (credit[index] ?? 0))),
    ),
  );
  const payable = standings.map((each, index) =>
    Math.floor(
      Math.min(
        Math.max(0, each.given - each.entitled) * seconds,
        Math.max(0, creditBound(each) + (credit[index] ?? 0)),
      ),
    ),
  );
  const moved = Math.min(sum(earnable), sum(payable));
  const earned = byNeed(moved, earnable, credit);
  const paid = byNeed(
    moved,
    payable,
    credit.map((own) => -own),
  );
  return new Map(
    standings.map(({ tenant }, index) => [
      tenant,
      (credit[index] ?? 0) + (earned[index] ?? 0) - (paid[index] ?? 0),
    ]),
  );
}

/** Balances without a tenant that is gone: what it was owed, or owed, falls to those on the other side, the furthest first. */
export function withoutTenant(balances: Balances, gone: TenantId): Balances {
  const left = balances.get(gone) ?? 0;
  const others = [...balances].filter(([tenant]) => tenant !== gone);
  // All others together stand at -left, so there is enough on the other side of 0.
  const side = Math.sign(left);
  const owing = others.map(([, credit]) => Math.max(0, -credit * side));
  const parts = byNeed(
    Math.abs(left),
    owing,
    owing.map((amount) => -amount),
  );
  return new Map(others.map(([tenant, credit], index) => [tenant, credit + side * (parts[index] ?? 0)]));
}

/** Divides `amount`, each at most its `most`, to whoever stands lowest first, until they stand alike. */
function byNeed(amount: number, most: readonly number[], standsAt: readonly number[]): number[] {
  const lowest = Math.min(...standsAt);
  const ground = standsAt.map((height) => height - lowest);
  const levels = fairShare(
    amount + sum(ground),
    ground.map((height, index) => ({
      floor: height,
      demand: height + (most[index] ?? 0),
      limit: Number.POSITIVE_INFINITY,
      weight: 1,
    })),
  );
  return levels.map((level, index) => level - (ground[index] ?? 0));
}

function balanceOf(balances: Balances, { tenant }: Pick<Standing, 'tenant'>): number {
  return balances.get(tenant) ?? 0;
}

function sum(amounts: readonly number[]): number {
  let total = 0;
  for (const amount of amounts) total += amount;
  return total;
}
