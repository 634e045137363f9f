import { describe, expect, test } from 'vitest';
import type { TenantId, TransactionId } from '../../base/ids.ts';
import type { ResourceChange, Transaction } from '../../model/change.ts';
import { unlimited } from '../../model/tenant.ts';
import { countWishes, withCounts } from './counted-limits.ts';

const acme = 'acme' as TenantId;
const other = 'other' as TenantId;
const memory: ResourceChange = {
  resource: 'memory',
  before: null,
  after: null,
  wanted: null,
  status: 'applied',
  reason: '',
  durationMs: 0,
};

function transactionOf(parts: Partial<Transaction>): Transaction {
  return {
    id: 't-1' as TransactionId,
    planned: false,
    status: 'applied',
    reason: '',
    tenants: [],
    instances: [],
    durationMs: 2,
    stages: [],
    connections: { open: 0, kept: 0, dropped: 0 },
    ...parts,
  };
}

describe('limits that gateways count', () => {
  const now = { ...unlimited, connections: 5 };
  const wishes = countWishes(acme, now, { connections: 9, concurrency: 20 });

  test('are told when they were named and are otherwise now', () => {
    expect(wishes?.limits).toEqual([
      { resource: 'connections', before: 5, wanted: 9 },
      { resource: 'concurrency', before: null, wanted: 20 },
    ]);
    expect(countWishes(acme, now, { connections: 5, memory: null })).toBeUndefined();
    expect(countWishes(acme, now, { connections: null })?.limits).toEqual([
      { resource: 'connections', before: 5, wanted: null },
    ]);
  });

  test('stand in the answer beside what a unit holds, without what only stands as it stood', () => {
    const deferred: ResourceChange = { ...memory, wanted: 1, status: 'deferred', reason: 'in use' };
    const moved: ResourceChange = { ...memory, resource: 'cpu', after: 500, wanted: 500 };
    const tenants = [
      { tenant: acme, changes: [memory, moved, deferred] },
      { tenant: other, changes: [memory] },
    ];
    const answer = withCounts(transactionOf({ tenants }), wishes);
    expect(answer.tenants).toEqual([
      { tenant: other, changes: [memory] },
      {
        tenant: acme,
        changes: [
          moved,
          deferred,
          expect.objectContaining({ resource: 'connections', before: 5, after: 9, wanted: 9, durationMs: 2 }),
          expect.objectContaining({ resource: 'concurrency', before: null, after: 20, status: 'applied' }),
        ],
      },
    ]);
  });

  test('are not in an answer that is infeasible', () => {
    const refused = transactionOf({ status: 'infeasible' });
    expect(withCounts(refused, wishes)).toBe(refused);
  });
});
