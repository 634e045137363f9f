// What an answer is about: what was named, not what has been waiting since before.
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import type { Millicores } from '../../base/quantity.ts';
import type { Transaction } from '../../model/change.ts';
import type { Workload } from '../../model/workload.ts';
import { acme, app, Harness, mebibytes } from '../testing/harness.ts';

const now = { plan: false, waitMs: 0 } as const;
const planOnly = { plan: true, waitMs: 0 } as const;
const cpu = (count: number): Millicores => count as Millicores;
let harness: Harness;
let chat: Workload;
let id: InstanceId;

/** An instance and a limit that wait to shrink. */
beforeEach(async () => {
  harness = await Harness.start();
  const request = { memory: mebibytes(256), cpu: cpu(400) };
  chat = await harness.control.deploy(acme, app('chat', { request }), { mustCreate: true });
  [id] = (await harness.running()) as [InstanceId];
  harness.agent.setInUse(id, mebibytes(200));
  expect((await harness.control.setLimits(acme, { memory: mebibytes(128) }, now)).status).toBe('deferred');
});

afterEach(() => harness.close());

function resourcesIn({ tenants, instances }: Transaction): Set<string> {
  return new Set(
    [...tenants, ...instances].flatMap(({ changes }) => changes.map(({ resource }) => resource)),
  );
}

test('limits of the CPU alone: applied, and nothing is said of memory that waits', async () => {
  for (const options of [planOnly, now]) {
    const transaction = await harness.control.setLimits(acme, { cpu: cpu(300) }, options);
    expect(transaction).toMatchObject({ status: 'applied', reason: '' });
    expect(resourcesIn(transaction)).toEqual(new Set(['cpu']));
  }
  expect(harness.agent.instance(id).grant).toMatchObject({ cpu: 300, memory: mebibytes(256) });
});

test('a workload’s CPU alone: applied, and nothing is said of memory that waits', async () => {
  const transaction = await harness.control.resizeWorkload(acme, chat.name, { cpu: cpu(350) }, now);
  expect(transaction).toMatchObject({ status: 'applied', reason: '' });
  expect(resourcesIn(transaction)).toEqual(new Set(['cpu']));
});

test('asked again for the memory limit that waits, it says that it waits, for the tenant and its instance', async () => {
  const transaction = await harness.control.setLimits(acme, { memory: mebibytes(128) }, now);
  expect(transaction.status).toBe('deferred');
  expect(transaction.tenants).toMatchObject([{ tenant: acme, changes: [{ resource: 'memory' }] }]);
  expect(transaction.instances).toMatchObject([{ instance: id, changes: [{ resource: 'memory' }] }]);
});
