// What the answer to a change of limits says of those that gateways count. Pure.
import type { TenantId } from '../../base/ids.ts';
import type { CountChange, LimitsChange, Transaction } from '../../model/change.ts';
import { countedLimits, type TenantLimits } from '../../model/tenant.ts';

/** Counted limits of a tenant, as they were and as they are to be. */
export interface CountWishes {
  readonly tenant: TenantId;
  readonly limits: readonly Pick<CountChange, 'resource' | 'before' | 'wanted'>[];
}

/** Those that were named and are to be otherwise. */
export function countWishes(
  tenant: TenantId,
  now: TenantLimits,
  named: Partial<TenantLimits>,
): CountWishes | undefined {
  const limits = countedLimits.flatMap((resource) => {
    const wanted = named[resource];
    const before = now[resource];
    return wanted === undefined || wanted === before ? [] : [{ resource, before, wanted }];
  });
  return limits.length === 0 ? undefined : { tenant, limits };
}

/** The transaction with them; as it was when it is infeasible, for then nothing is stored. */
export function withCounts(transaction: Transaction, wishes: CountWishes | undefined): Transaction {
  if (wishes === undefined || transaction.status === 'infeasible') return transaction;
  const { tenant } = wishes;
  const { tenants, durationMs } = transaction;
  const counts = wishes.limits.map((limit): CountChange => ({
    ...limit,
    after: limit.wanted,
    status: 'applied',
    reason: '',
    durationMs,
  }));
  const others = tenants.filter((each) => each.tenant !== tenant);
  // A unit tells of limits too that nobody named, and that stand as they stood.
  const moved = tenants
    .filter((each) => each.tenant === tenant)
    .flatMap(({ changes }) => changes.filter(isNews));
  return { ...transaction, tenants: [...others, { tenant, changes: [...moved, ...counts] }] };
}

function isNews({ before, after, status }: LimitsChange['changes'][number]): boolean {
  return status !== 'applied' || before !== after;
}
