// What becomes of a difference between the ledger and the kernel, with a unit that is played.
import { afterEach, expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { gib, mib, type Bytes } from '../../base/quantity.ts';
import { acme, app, eventually, Harness } from '../testing/harness.ts';

let harness: Harness;
afterEach(() => harness.close());

async function oneInstance(): Promise<InstanceId> {
  harness = await Harness.start();
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  const [id] = await harness.running();
  return id!;
}

const measured = (): number => harness.agent.calls.filter(({ method }) => method === 'measure').length;

async function someTicks(): Promise<void> {
  const before = measured();
  await eventually(() => expect(measured()).toBeGreaterThan(before + 6));
}

test('M-E2: while both agree nothing is told', async () => {
  await oneInstance();
  await someTicks();
  expect(await harness.events('ledger.discrepancy')).toEqual([]);
});

test('M-E2: where the kernel holds an instance to something else the ledger takes that, and one event tells of it', async () => {
  const id = await oneInstance();
  const [view] = await harness.control.instances();
  const { memory, cpu, storage } = view!.grant;
  harness.agent.holdTo(id, { memoryBytes: 96 * mib, cpuMillicores: cpu, storageBytes: storage });
  await eventually(async () => expect((await harness.control.instances())[0]?.grant.memory).toBe(96 * mib));
  const granted = (await harness.control.ledger()).find(({ resource }) => resource === 'memory')?.granted;
  expect(granted).toBe(96 * mib);
  await someTicks();
  const events = await harness.events('ledger.discrepancy');
  expect(events.map(({ instance, data }) => [instance, data])).toEqual([
    [id, { of: 'limit', resource: 'memory', ledger: memory, kernel: 96 * mib }],
  ]);
  expect(events[0]?.message).toMatch(
    /^The kernel holds acme\/chat i-\w+ to 96MiB of memory, the ledger said 128MiB/,
  );
});

test('M-E2: another tenant’s limit than the kernel’s is told and written again, with the next division', async () => {
  await oneInstance();
  await harness.control.setLimits(acme, { memory: (2 * gib) as Bytes }, { plan: false, waitMs: 0 });
  const { tenants } = await harness.agent.handlers.measure({});
  const spec = { tenant: acme, uid: 1_900_000_000, cpuMillicores: null, weight: 1 };
  expect(tenants.find(({ tenant }) => tenant === acme)?.memoryLimitBytes).toBe(2 * gib);
  await harness.agent.handlers.ensureTenant({ ...spec, memoryBytes: gib });
  await eventually(async () => {
    const [event] = await harness.events('ledger.discrepancy');
    expect(event?.data).toEqual({ of: 'limit', resource: 'memory', ledger: 2 * gib, kernel: gib });
  });
  await harness.control.deploy(acme, app('more'), { mustCreate: true });
  await eventually(async () => {
    const now = await harness.agent.handlers.measure({});
    expect(now.tenants.find(({ tenant }) => tenant === acme)?.memoryLimitBytes).toBe(2 * gib);
  });
});
