// What a change says of an instance that has no group yet.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ChangePlan } from '../../allocator/plan-change.ts';
import { parseWorkloadName, type InstanceId, type TransactionId } from '../../base/ids.ts';
import type { Behaviour } from '../../units/mock/script.ts';
import { acme, app, eventually, Harness, mebibytes } from '../testing/harness.ts';
import { withStarting } from './starting.ts';
import { appliedTransaction } from './transaction.ts';

const starting = 'i-starting' as InstanceId;
const chat = parseWorkloadName('chat');

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
    promised: new Map(),
  };
}

const answer = (after: number, isStarting: boolean) =>
  appliedTransaction(
    'tx' as TransactionId,
    withStarting(planOf(after), (id) => isStarting && id === starting),
    { tenants: [], instances: [] },
    { durationMs: 0, stages: [] },
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

describe('who waits while an instance starts', () => {
  let harness: Harness;
  const memory = mebibytes(512);

  beforeEach(async () => {
    harness = await Harness.start();
    const request = { memory: mebibytes(256) };
    await harness.control.deploy(acme, app('chat', { request, scale: 0 }), { mustCreate: true });
  });

  afterEach(() => harness.close());

  const beginStart = async (behaviour: Behaviour<'start'>): Promise<void> => {
    harness.agent.script.next('start', behaviour);
    await harness.control.resizeWorkload(acme, chat, { scale: 1 }, { plan: false, waitMs: 0 });
    await eventually(() => expect(harness.starts).toBe(1));
  };

  test('gets the answer when the instance has its share, by the kernel’s word', async () => {
    await beginStart({ do: 'delay', ms: 150 });
    const options = { plan: false, waitMs: 10_000 };
    const transaction = await harness.control.resizeWorkload(acme, chat, { memory }, options);
    const [id] = await harness.running();
    expect(transaction).toMatchObject({ status: 'applied', reason: '' });
    expect(transaction.instances).toMatchObject([
      { instance: id, changes: [{ before: mebibytes(256), after: memory, status: 'applied' }] },
    ]);
    expect(harness.agent.instance(id!).grant.memory).toBe(memory);
  });

  test('hears after that time that it is starting still, and it gets its share all the same', async () => {
    const serves = Promise.withResolvers<void>();
    await beginStart({ do: 'wait', until: serves.promise });
    const options = { plan: false, waitMs: 20 };
    const transaction = await harness.control.resizeWorkload(acme, chat, { memory }, options);
    expect(transaction).toMatchObject({ status: 'deferred', reason: expect.stringContaining('is starting') });
    serves.resolve();
    await eventually(async () => {
      const [id] = await harness.running();
      expect(harness.agent.instance(id!).grant.memory).toBe(memory);
    });
  });
});
