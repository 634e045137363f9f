// What a planned reclaim says is what the real one does: the same from the same, in the same order. Against a played unit whose
// trims bring what was expected of them, so that nothing moves but what reclaim moves.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type { ReclaimReport } from '../control-plane.ts';
import { acme, eventually, fn, Harness, type TestGateway } from '../testing/harness.ts';

let harness: Harness;
let gateway: TestGateway;
const idleForMs = 60_000;

beforeEach(async () => {
  harness = await Harness.start();
  gateway = await harness.gateway();
  const setup = harness.agent;
  vi.spyOn(setup.handlers, 'trim').mockImplementation(async ({ id }) => {
    const beforeBytes = await usedBy(id);
    // What the smallest Node instance stands at, which is what a trim is expected to leave.
    const afterBytes = Math.min(beforeBytes, 12 * mib);
    setup.setInUse(id, afterBytes);
    return { beforeBytes, afterBytes };
  });
});
afterEach(async () => {
  gateway.client.close();
  await harness.close();
});

async function usedBy(id: InstanceId): Promise<number> {
  const { instances } = await harness.agent.handlers.measure({});
  return instances.find((instance) => instance.id === id)?.usage.memoryBytes ?? 0;
}

/** One idle instance for each amount, the first idle for longest. */
async function idleFunctions(...megabytes: number[]): Promise<InstanceId[]> {
  const ids: InstanceId[] = [];
  for (const [index, amount] of megabytes.entries()) {
    const workload = await harness.control.deploy(acme, fn(`f${index}`), { mustCreate: true });
    const id = await gateway.acquire(workload);
    await eventually(async () => expect(await harness.running()).toContain(id));
    harness.agent.setInUse(id, amount * mib);
    await eventually(async () =>
      expect((await harness.control.instances()).find((view) => view.id === id)?.state).toBe('busy'),
    );
    gateway.client.peer?.emit('idle', {
      id,
      sinceMs: Date.now() - idleForMs - (megabytes.length - index) * 100,
    });
    ids.push(id);
  }
  await eventually(async () =>
    expect((await harness.control.instances()).map(({ state }) => state)).toEqual(
      megabytes.map(() => 'idle'),
    ),
  );
  return ids;
}

const steps = ({ from }: ReclaimReport): unknown[] =>
  from.map(({ instance, how, beforeBytes, afterBytes, claimedBytes }) => [
    instance,
    how,
    beforeBytes / mib,
    afterBytes / mib,
    claimedBytes / mib,
  ]);

describe('M-E3: a plan of a reclaim', () => {
  test.each([
    ['all that can be found', undefined],
    ['what one trim brings', 40],
    ['what takes two trims', 60],
    ['what takes an idle one’s end', 120],
    ['more than there is', 900],
  ])('for %s is what is done then', async (_, megabytes) => {
    await idleFunctions(60, 50, 40);
    const request = megabytes === undefined ? {} : { memoryBytes: megabytes * mib };
    const planned = await harness.control.reclaim({ ...request, plan: true });
    expect(planned).toMatchObject({ planned: true, freedBytes: 0 });
    const done = await harness.control.reclaim(request);
    expect(done.planned).toBe(false);
    expect(steps(done)).toEqual(steps(planned));
    expect([done.wantedBytes, done.claimedBytes, done.missingBytes]).toEqual([
      planned.wantedBytes,
      planned.claimedBytes,
      planned.missingBytes,
    ]);
  });

  test('touches nobody, and leaves no event', async () => {
    await idleFunctions(60, 50);
    const before = harness.agent.calls.length;
    await harness.control.reclaim({ memoryBytes: 900 * mib, plan: true });
    const since = harness.agent.calls.slice(before).map(({ method }) => method);
    expect(since.filter((method) => method !== 'measure' && method !== 'setPool')).toEqual([]);
    expect(await harness.events('reclaim.taken')).toEqual([]);
    expect(await harness.running()).toHaveLength(2);
  });

  test('says whom in which order: longest idle first, by the gentlest rung that is enough, and nobody is ended for what trims bring', async () => {
    const [first, second] = await idleFunctions(60, 50, 40);
    const planned = await harness.control.reclaim({ memoryBytes: 60 * mib, plan: true });
    expect(steps(planned)).toEqual([
      [first, 'trim', 60, 12, 48],
      [second, 'trim', 50, 12, 38],
    ]);
  });

  test('of one tenant names nobody else', async () => {
    const [only] = await idleFunctions(60);
    expect(steps(await harness.control.reclaim({ from: only!, plan: true }))).toEqual([
      [only, 'trim', 60, 12, 48],
    ]);
    await expect(
      harness.control.reclaim({ from: 'nobody' as typeof acme, plan: true }),
    ).rejects.toMatchObject({
      code: 'NotFound',
    });
  });
});

test('M-E3: what was taken, from whom, why, how long and what it did to connections is an event', async () => {
  const [id] = await idleFunctions(60);
  harness.agent.setConnections(id!, { open: 2, closedByClient: 0, closedByServer: 0 });
  await eventually(async () => expect((await harness.control.instances())[0]?.connections.open).toBe(2));
  await harness.control.reclaim({ memoryBytes: 500 * mib });
  const [event] = await harness.events('reclaim.taken');
  expect(event?.message).toMatch(
    /^48\.0 MiB were taken back from 1 instance, in \d+ ms, since it was asked for; 2 of 2 connections kept; 452 MiB are still missing\.$/,
  );
  expect(event?.data).toMatchObject({
    why: 'it was asked for',
    report: { from: [{ instance: id, how: 'trim' }], connections: { open: 2, kept: 2, dropped: 0 } },
  });
  // Somebody is connected to it: it may be trimmed, and is not ended.
  expect(await harness.running()).toEqual([id]);
});
