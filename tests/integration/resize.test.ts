// The resize on the running kernel, with Node processes that really hold memory.
import { afterEach, beforeEach, describe, expect, test, type TestContext } from 'vitest';
import { mib } from '../../src/base/quantity.ts';
import { grantOf, makeUnit, tenant, tenantOf, type Process } from './resize-unit.ts';

let unit: ReturnType<typeof makeUnit>;

beforeEach((context) => {
  unit = makeUnit();
  if (!unit.cgroup.capabilities.memoryLimit)
    context.skip('this machine lets nobody here enforce a memory limit');
});
afterEach(() => unit.close());

const kernelLimit = (group: Process['group']): number => unit.kernelLimit(group);

async function resize(app: Process, memoryMib: number, waitMs = 0) {
  const result = await unit.resizer.apply({
    tenants: [],
    instances: [{ id: app.id, grant: grantOf(memoryMib) }],
    waitMs,
  });
  return result.instances[0]?.changes[0];
}

function expectAlive(app: Process): void {
  expect([app.child.exitCode, app.child.signalCode]).toEqual([null, null]);
  expect(unit.cgroup.usage(app.group).oomKills).toBe(0);
}

describe('one instance', () => {
  test('grows at once, and the kernel says so', async () => {
    const app = await unit.start(grantOf(128));
    expect(await resize(app, 256)).toMatchObject({
      status: 'applied',
      before: 128 * mib,
      after: 256 * mib,
      reason: '',
    });
    expect(kernelLimit(app.group)).toBe(256 * mib);
    expectAlive(app);
  });

  test('shrinks when there is room, without a collection, and is told before and after', async () => {
    const app = await unit.start(grantOf(256));
    expect(await resize(app, 128)).toMatchObject({ status: 'applied', before: 256 * mib, after: 128 * mib });
    expect(kernelLimit(app.group)).toBe(128 * mib);
    expect(unit.trims()).toBe(0);
    expect(unit.notices).toEqual([
      { id: app.id, memory: 128 * mib, phase: 'changing' },
      { id: app.id, memory: 128 * mib, phase: 'current' },
    ]);
    expect(unit.resizer.desired(app.id)?.memory).toBe(128 * mib);
  });

  test('garbage in the way is collected first', async () => {
    const app = await unit.start(grantOf(400));
    // V8 may collect by itself as soon as they are let go; then there is no garbage in the way, and it is made again.
    for (let held = 0; held < 150 * mib; held = unit.cgroup.usage(app.group).workingSetBytes) {
      await app.tell('hold 200');
      await app.tell('hold 0');
    }
    expect(await resize(app, 128, 5000)).toMatchObject({ status: 'applied', after: 128 * mib });
    expect(unit.trims()).toBeGreaterThan(0);
  });

  test('M-E1: a limit below what is in use is deferred with the figures, nothing is killed, the kernel keeps the old one', async () => {
    const app = await unit.start(grantOf(300));
    await app.tell('hold 200');
    const change = await resize(app, 128, 300);
    expect(change).toMatchObject({
      status: 'deferred',
      before: 300 * mib,
      after: 300 * mib,
      wanted: 128 * mib,
    });
    expect(change?.reason).toMatch(
      /^uses 2\d\d MiB \(working set\) and needs 8\.0 MiB of headroom; 128 MiB was asked$/,
    );
    expect(kernelLimit(app.group)).toBe(300 * mib);
    expectAlive(app);
  });

  test('M-E1: what was deferred is applied by itself when the memory is freed', async () => {
    const app = await unit.start(grantOf(300));
    await app.tell('hold 200');
    expect(await resize(app, 128)).toMatchObject({ status: 'deferred' });
    await app.tell('hold 0');
    await app.tell('gc');
    await expect.poll(() => kernelLimit(app.group)).toBe(128 * mib);
    await expect.poll(() => unit.later.length).toBe(1);
    expect(unit.later[0]?.instances[0]).toMatchObject({
      instance: app.id,
      changes: [{ resource: 'memory', status: 'applied', before: 300 * mib, after: 128 * mib }],
    });
    expect(unit.notices.at(-1)).toEqual({ id: app.id, memory: 128 * mib, phase: 'current' });
    expectAlive(app);
  });

  test('a caller who waits gets the answer when it is applied', async () => {
    const app = await unit.start(grantOf(300));
    await app.tell('hold 200');
    const answer = resize(app, 128, 20_000);
    await app.tell('hold 0');
    await app.tell('gc');
    expect(await answer).toMatchObject({ status: 'applied', before: 300 * mib, after: 128 * mib });
  });

  test('a later request takes the place of one that waits', async () => {
    const app = await unit.start(grantOf(300));
    await app.tell('hold 200');
    const first = resize(app, 128, 20_000);
    await expect.poll(() => unit.trims()).toBeGreaterThan(0);
    expect(await resize(app, 350)).toMatchObject({ status: 'applied', after: 350 * mib });
    expect(await first).toMatchObject({
      status: 'deferred',
      reason: 'a later request has taken its place',
      after: 350 * mib,
    });
    await app.tell('hold 0');
    await app.tell('gc');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(kernelLimit(app.group)).toBe(350 * mib);
    expect(unit.later).toEqual([]);
  });

  test('M-E1: a lowered limit that proves too low right away is taken back, and comes again later', async () => {
    const app = await unit.start(grantOf(300));
    const lowMib = Math.ceil(unit.cgroup.usage(app.group).workingSetBytes / mib) + 20;
    expect(await resize(app, lowMib)).toMatchObject({ status: 'applied' });
    await app.tell('hold 150');
    expectAlive(app);
    await expect.poll(() => unit.later.length).toBe(1);
    expect(unit.later[0]?.instances[0]?.changes[0]).toMatchObject({ status: 'deferred', after: 300 * mib });
    expect(kernelLimit(app.group)).toBe(300 * mib);
    await app.tell('hold 0');
    await app.tell('gc');
    await expect.poll(() => kernelLimit(app.group)).toBe(lowMib * mib);
    expectAlive(app);
  });

  test('a process that an agent left waiting at a lowered limit goes on when the next agent takes over', async (context) => {
    if (unit.cgroup.capabilities.version !== 'v1') context.skip('only cgroup v1 lets a process wait');
    const app = await unit.start(grantOf(300));
    unit.cgroup.holdOutOfMemory(app.group, true);
    const memoryBytes = unit.cgroup.usage(app.group).memoryBytes + 8 * mib;
    expect(await unit.cgroup.setLimits(app.group, { memoryBytes })).toBe('applied');
    const told = app.tell('hold 40');
    await expect.poll(() => unit.cgroup.memoryStrain(app.group).waiting).toBe(true);
    await unit.resizer.adopt([app.id], [tenant]);
    await told;
    expectAlive(app);
  });

  test('what the unit can not change live is said', async () => {
    const app = await unit.start(grantOf(128));
    const grant = { ...grantOf(128), storage: grantOf(1).memory };
    const result = await unit.resizer.apply({ tenants: [], instances: [{ id: app.id, grant }], waitMs: 0 });
    expect(result.instances[0]?.changes[2]).toMatchObject({
      resource: 'storage',
      status: 'applied',
      reason: expect.stringContaining('nothing on this machine') as string,
    });
  });

  test('an instance that is gone is left out of the answer', async () => {
    const app = await unit.start(grantOf(128));
    unit.grants.delete(app.id);
    expect(
      await unit.resizer.apply({ tenants: [], instances: [{ id: app.id, grant: grantOf(256) }], waitMs: 0 }),
    ).toEqual({
      tenants: [],
      instances: [],
    });
  });

  test('M-E1: a process that allocates and frees at random lives through 300 random limits', async () => {
    const app = await unit.start(grantOf(256));
    await app.tell('churn 120');
    const seen = { applied: 0, deferred: 0, infeasible: 0 };
    // And so many more as it takes until some had to wait: how often one meets a full heap is the machine's matter.
    for (let index = 0; index < 300 || seen.deferred <= 10; index += 1) {
      const change = await resize(app, 100 + Math.floor(Math.random() * 200), Math.random() < 0.2 ? 30 : 0);
      if (change !== undefined) seen[change.status] += 1;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 40));
    }
    expectAlive(app);
    expect(seen.infeasible).toBe(0);
    expect(seen.applied).toBeGreaterThan(50);
    expect(seen.deferred).toBeGreaterThan(10);
    // It did work all the time, and what was asked last stands in the end.
    expect(await resize(app, 256)).toMatchObject({ status: 'applied' });
    await app.tell('rest');
    await app.tell('hold 0');
    expect(await resize(app, 100, 10_000)).toMatchObject({ status: 'applied' });
    expect(kernelLimit(app.group)).toBe(100 * mib);
    expectAlive(app);
  }, 60_000);
});

describe('a tenant and its instances', () => {
  function needsCpu(context: TestContext): void {
    if (!unit.cgroup.capabilities.cpuLimit) context.skip('this machine lets nobody here enforce a CPU limit');
  }

  test('a tenant limit below the sum of its instances is fine as long as it is above their use', async () => {
    const apps = [await unit.start(grantOf(256)), await unit.start(grantOf(256))];
    const result = await unit.resizer.apply({ tenants: [tenantOf(300)], instances: [], waitMs: 0 });
    expect(result.tenants[0]?.changes[0]).toMatchObject({
      status: 'applied',
      before: null,
      after: 300 * mib,
    });
    expect(kernelLimit(unit.groupOfTenant(tenant))).toBe(300 * mib);
    apps.forEach(expectAlive);
  });

  test('M-E1: a tenant limit below the use of its instances is deferred, and applied when they free', async () => {
    const apps = [await unit.start(grantOf(256)), await unit.start(grantOf(256))];
    for (const app of apps) await app.tell('hold 100');
    const result = await unit.resizer.apply({ tenants: [tenantOf(200)], instances: [], waitMs: 0 });
    expect(result.tenants[0]?.changes[0]).toMatchObject({ status: 'deferred', before: null, after: null });
    for (const app of apps) await app.tell('hold 0');
    for (const app of apps) await app.tell('gc');
    const group = unit.groupOfTenant(tenant);
    await expect.poll(() => kernelLimit(group)).toBe(200 * mib);
    apps.forEach(expectAlive);
  });

  test('memory moves from one instance to another and the tenant grows with it, in one request', async () => {
    const [from, to] = [await unit.start(grantOf(256)), await unit.start(grantOf(128))];
    const result = await unit.resizer.apply({
      tenants: [tenantOf(512, 2000)],
      instances: [
        { id: from.id, grant: grantOf(128) },
        { id: to.id, grant: grantOf(320, 1500) },
      ],
      waitMs: 0,
    });
    const statuses = [...result.tenants, ...result.instances].flatMap((each) =>
      each.changes.map((change) => change.status),
    );
    expect(new Set(statuses)).toEqual(new Set(['applied']));
    expect([kernelLimit(from.group), kernelLimit(to.group)]).toEqual([128 * mib, 320 * mib]);
    expect(unit.cgroup.limits(to.group).cpuMillicores).toBe(1500);
  });

  test('who is done is told so, while another that is to shrink in the same request does not come to collect', async () => {
    const small = await unit.start(grantOf(128));
    const idle = await unit.start(grantOf(256));
    const large = await unit.start(grantOf(300));
    await large.tell('hold 200');
    unit.stuck.add(large.id);
    let isAnswered = false;
    const answer = unit.resizer
      .apply({
        tenants: [],
        instances: [
          { id: small.id, grant: grantOf(192) },
          { id: idle.id, grant: grantOf(128) },
          { id: large.id, grant: grantOf(128) },
        ],
        waitMs: 0,
      })
      .finally(() => (isAnswered = true));
    const current = (): unknown[] => unit.notices.filter(({ phase }) => phase === 'current');
    await expect.poll(current, { interval: 5 }).toHaveLength(2);
    expect(isAnswered).toBe(false);
    expect(current()).toEqual(
      expect.arrayContaining([
        { id: small.id, memory: 192 * mib, phase: 'current' },
        { id: idle.id, memory: 128 * mib, phase: 'current' },
      ]),
    );
    expect([kernelLimit(small.group), kernelLimit(idle.group)]).toEqual([192 * mib, 128 * mib]);
    const { instances } = await answer;
    expect(instances.map(({ changes }) => changes[0]?.status)).toEqual(['applied', 'applied', 'deferred']);
    for (const app of [small, idle, large]) expectAlive(app);
  });

  test('CPU above the tenant limit waits for that limit to rise', async (context) => {
    needsCpu(context);
    const app = await unit.start(grantOf(128, 1000));
    const lower = await unit.resizer.apply({ tenants: [tenantOf(null, 500)], instances: [], waitMs: 0 });
    expect(lower.tenants[0]?.changes[1]).toMatchObject({ status: 'applied', after: 500 });
    expect(lower.instances[0]?.changes[1]).toMatchObject({ status: 'deferred', before: 1000, after: 500 });
    await unit.resizer.apply({ tenants: [tenantOf(null, 800)], instances: [], waitMs: 0 });
    expect(unit.cgroup.limits(app.group).cpuMillicores).toBe(800);
    await unit.resizer.apply({ tenants: [tenantOf(null, 500)], instances: [], waitMs: 0 });
    const more = await unit.resizer.apply({
      tenants: [],
      instances: [{ id: app.id, grant: grantOf(128, 1500) }],
      waitMs: 0,
    });
    expect(more.instances[0]?.changes[1]).toMatchObject({ status: 'deferred', after: 500, wanted: 1500 });
    const higher = await unit.resizer.apply({ tenants: [tenantOf(null, 2000)], instances: [], waitMs: 0 });
    expect(higher.instances[0]?.changes[1]).toMatchObject({ status: 'applied', after: 1500 });
    expect(unit.cgroup.limits(app.group).cpuMillicores).toBe(1500);
  });

  test('when part of a growth fails the owner is left as it was', async () => {
    const app = await unit.start(grantOf(128, 1000));
    const impossible = { ...grantOf(256), cpu: Number.MAX_SAFE_INTEGER as never };
    const result = await unit.resizer.apply({
      tenants: [],
      instances: [{ id: app.id, grant: impossible }],
      waitMs: 0,
    });
    expect(result.instances[0]?.changes.map((change) => change.status)).toEqual(['infeasible', 'infeasible']);
    expect(unit.cgroup.limits(app.group)).toMatchObject({ memoryBytes: 128 * mib, cpuMillicores: 1000 });
  });
});
