// When memory is taken back by itself, on a played host whose memory is as short as the test says.
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { Tuning } from '../config.ts';
import type { AppDeployment, FunctionDeployment } from '../control-plane.ts';
import { acme, app, defaultSize, eventually, fn, Harness, type TestGateway } from '../testing/harness.ts';

let harness: Harness;
let gateway: TestGateway | undefined;
afterEach(async () => {
  gateway?.client.close();
  gateway = undefined;
  await harness.close();
});

const trims = (): InstanceId[] =>
  harness.agent.calls.flatMap(({ method, params }) =>
    method === 'trim' ? [(params as { id: InstanceId }).id] : [],
  );

/** All of the host but so much is kept from instances: its 4 GiB need not be used up for memory to be short. */
const leaving = (bytes: number, more: Partial<Tuning> = {}): Partial<Tuning> => ({
  hostReserveBytes: 4 * gib - bytes,
  reclaimIdleMs: 0,
  ...more,
});

/** A function's instance that is idle since long, and gives back all but 12 MiB when it is asked. */
async function idleFunction(
  name: string,
  megabytes: number,
  change: Partial<FunctionDeployment> = {},
): Promise<InstanceId> {
  gateway ??= await harness.gateway();
  const { agent } = harness;
  vi.spyOn(agent.handlers, 'trim').mockImplementation(async ({ id }) => {
    const { instances } = await agent.handlers.measure({});
    const beforeBytes = instances.find((each) => each.id === id)?.usage.memoryBytes ?? 0;
    agent.calls.push({ method: 'trim', params: { id } });
    agent.setInUse(id, Math.min(beforeBytes, 12 * mib));
    return { beforeBytes, afterBytes: Math.min(beforeBytes, 12 * mib) };
  });
  const workload = await harness.control.deploy(acme, fn(name, change), { mustCreate: true });
  const id = await gateway.acquire(workload);
  await eventually(async () => expect(await harness.running()).toContain(id));
  agent.setInUse(id, megabytes * mib);
  gateway.client.peer?.emit('idle', { id, sinceMs: Date.now() - 60_000 });
  return id;
}

describe('by itself', () => {
  test('M-B1: nothing is taken while there is room', async () => {
    harness = await Harness.start({ reclaimIdleMs: 0 });
    const id = await idleFunction('hello', 60);
    const ticks = (): number => harness.agent.calls.filter(({ method }) => method === 'measure').length;
    const before = ticks();
    await eventually(() => expect(ticks()).toBeGreaterThan(before + 5));
    expect(trims()).toEqual([]);
    expect(await harness.running()).toEqual([id]);
  });

  test('M-B1: with little available the idle one is trimmed and then ended, and the log says why', async () => {
    harness = await Harness.start(leaving(100 * mib));
    const id = await idleFunction('hello', 60);
    await eventually(async () => {
      const [event] = await harness.events('reclaim.taken');
      expect(event?.message).toMatch(/taken back from 1 instance/);
      expect(event?.message).toContain('little memory is available on the host');
      expect(event?.data).toMatchObject({ report: { from: [{ instance: id }] } });
    });
    await eventually(async () => expect(await harness.running()).toEqual([]));
    const [short] = await harness.events('reclaim.short');
    expect(short?.message).toMatch(/could not be taken back from anybody/);
  });

  test('M-B6: what is in use is trimmed when memory is short, never ended, and not asked again and again', async () => {
    harness = await Harness.start(leaving(100 * mib));
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const [id] = await harness.running();
    harness.agent.setInUse(id!, 90 * mib);
    await eventually(() => expect(trims()).toEqual([id]));
    const ticks = (): number => harness.agent.calls.filter(({ method }) => method === 'measure').length;
    const before = ticks();
    await eventually(() => expect(ticks()).toBeGreaterThan(before + 10));
    expect(trims()).toEqual([id]);
    expect(await harness.running()).toEqual([id]);
    expect(await harness.events('reclaim.short')).toHaveLength(1);
  });

  test('the kernel’s word that memory is short is an event, and acts before the next tick', async () => {
    harness = await Harness.start({ reclaimIdleMs: 0, tickMs: 600_000 });
    const id = await idleFunction('hello', 110);
    await eventually(async () => expect((await harness.control.instances())[0]?.state).toBe('idle'));
    harness.agent.emit({
      event: 'hostPressure',
      data: { availableBytes: 2 * gib, stalledMicros: 60_000, why: 'tasks stall for memory' },
    });
    await eventually(() => expect(trims()).toContain(id));
    expect((await harness.events('reclaim.pressure'))[0]?.message).toBe(
      'Memory is short on the host: tasks stall for memory; 2.0 GiB are available.',
    );
  });

  test('two are asked at once, and no more', async () => {
    harness = await Harness.start({ tickMs: 600_000 });
    const ids = [];
    for (const name of ['a', 'b', 'c', 'd', 'e']) ids.push(await idleFunction(name, 60));
    let now = 0;
    let most = 0;
    vi.spyOn(harness.agent.handlers, 'trim').mockImplementation(async () => {
      now += 1;
      most = Math.max(most, now);
      await new Promise((resolve) => setTimeout(resolve, 5));
      now -= 1;
      return { beforeBytes: 60 * mib, afterBytes: 12 * mib };
    });
    await eventually(async () =>
      expect((await harness.control.instances()).every(({ state }) => state === 'idle')).toBe(true),
    );
    const { from } = await harness.control.reclaim({});
    expect(from).toHaveLength(5);
    expect(most).toBe(2);
  });
});

test('M-B4: a start that finds no room has others trimmed at once, and is served in the end', async () => {
  // Half of what a start asks for must be available: 64 MiB of 128.
  harness = await Harness.start(leaving(100 * mib, { tickMs: 600_000, oversubscription: 10 }), {
    ...defaultSize,
  });
  await harness.control.deploy(acme, app('chat'), { mustCreate: true });
  const [id] = await harness.running();
  harness.agent.setInUse(id!, 90 * mib);
  await eventually(async () =>
    expect((await harness.control.instances())[0]?.usage.memoryBytes).toBe(90 * mib),
  );
  vi.spyOn(harness.agent.handlers, 'trim').mockImplementation(async () => {
    harness.agent.setInUse(id!, 20 * mib);
    return { beforeBytes: 90 * mib, afterBytes: 20 * mib };
  });
  gateway = await harness.gateway();
  const workload = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
  const started = await gateway.acquire(workload, 1, Date.now() + 10_000);
  expect(await harness.running()).toEqual([id, started]);
  const [event] = await harness.events('reclaim.taken');
  expect(event?.message).toContain('since acme/hello found no room to start');
});

test('M-B4: idle ones are trimmed before any is ended for a start: where that makes room enough, all of them stay', async () => {
  const size = { ...defaultSize, memory: 400 * mib } as typeof defaultSize;
  harness = await Harness.start(
    { tickMs: 50, oversubscription: 1, reclaimIdleMs: 0, hostReserveBytes: 0 },
    size,
  );
  const request = { memory: 160 * mib } as AppDeployment['request'];
  const idle = [await idleFunction('a', 150, { request }), await idleFunction('b', 150, { request })];
  await eventually(async () =>
    expect((await harness.control.instances()).map(({ used }) => used.memory)).toEqual([
      150 * mib,
      150 * mib,
    ]),
  );
  const workload = await harness.control.deploy(acme, fn('c', { request }), { mustCreate: true });
  const started = await gateway!.acquire(workload, 1, Date.now() + 10_000);
  expect(await harness.running()).toEqual([...idle, started]);
  expect(trims()).toEqual(idle);
});
