// What a change says of an instance that has no group yet.
import { expect, test } from 'vitest';
import type { ChangePlan } from '../../allocator/plan-change.ts';
import type { InstanceId, TransactionId } from '../../base/ids.ts';
import { acme } from '../testing/harness.ts';
import { appliedTransaction, withStarting } from './transaction.ts';

const starting = 'i-starting' as InstanceId;

function planOf(after: number): ChangePlan {
  const change = {
    resource: 'memory',
    before: 128,
    after,
    wanted: after,
    reason: '',
    durationMs: 0,
  } as const;
  const workload = 'acme/chat' as ChangePlan['instances'][number]['workload'];
  return {
    status: 'applied',
    reason: '',
    tenants: [],
    instances: [{ instance: starting, workload, tenant: acme, changes: [{ ...change, status: 'applied' }] }],
    steps: [],
    grants: new Map(),
  };
}

const answer = (after: number, isStarting: boolean) =>
  appliedTransaction(
    'tx' as TransactionId,
    withStarting(planOf(after), (id) => isStarting && id === starting),
    { tenants: [], instances: [] },
    0,
  );

test('a resize while an instance starts is deferred, and says why', () => {
  const transaction = answer(256, true);
  expect(transaction.status).toBe('deferred');
  expect(transaction.reason).toMatch(/is starting/);
  expect(transaction.instances[0]?.changes[0]).toMatchObject({ before: 128, after: 128, wanted: 256 });
});

test('one that runs, or that has it already, is not said to be starting', () => {
  expect(answer(256, false).status).toBe('applied');
  expect(answer(128, true).status).toBe('applied');
});
