// What the answer to a change of limits says of those that gateways count. Pure.
import type { TenantId } from '../../base/ids.ts';
import type { CountChange, Transaction } from '../../model/change.ts';
import { countedLimits, type CountedLimit, type TenantLimits } from '../../model/tenant.ts';

/** One counted limit of a tenant, as it was and as it is to be. */
export interface CountWish {
  readonly tenant: TenantId;
  readonly resource: CountedLimit;
  readonly before: number | null;
  readonly wanted: number | null;
}

/** Those that were named and are otherwise now. */
export function countWishes(
  tenant: TenantId,
  now: TenantLimits,
  named: Partial<TenantLimits>,
): readonly CountWish[] {
  return countedLimits.flatMap((resource) => {
    const wanted = named[resource];
    const before = now[resource];
    return wanted === undefined || wanted === before ? [] : [{ tenant, resource, before, wanted }];
  });
}

/** The transaction with them; as it was when it is infeasible, for then nothing is stored. */
export function withCounts(transaction: Transaction, wishes: readonly CountWish[]): Transaction {
  if (transaction.status === 'infeasible') return transaction;
  let { tenants } = transaction;
  for (const { tenant, resource, before, wanted } of wishes) {
    const { durationMs } = transaction;
    const change: CountChange = {
      resource,
      before,
      after: wanted,
      wanted,
      status: 'applied',
      reason: '',
      durationMs,
    };
    const there = tenants.find((each) => each.tenant === tenant);
    tenants = [
      ...tenants.filter((each) => each !== there),
      { tenant, changes: [...(there?.changes ?? []), change] },
    ];
  }
  return { ...transaction, tenants };
}
