// Lent grants on the running kernel, with Node processes that really hold memory, and that try to break it.
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { headroomOf } from '../../src/allocator/demand/demand.ts';
import { mib, type Bytes } from '../../src/base/quantity.ts';
import { grantOf, makeUnit, tenantOf, type Process } from './resize-unit.ts';

let unit: ReturnType<typeof makeUnit>;

beforeEach((context) => {
  unit = makeUnit();
  if (!unit.cgroup.capabilities.memoryLimit)
    context.skip('this machine lets nobody here enforce a memory limit');
});
afterEach(() => unit.close());

const kernelLimit = ({ group }: Pick<Process, 'group'>): number => unit.kernelLimit(group);

async function lend(app: Process, memoryMib: number, promisedMib: number) {
  const { instances } = await unit.resizer.apply({
    tenants: [],
    instances: [
      { id: app.id, grant: grantOf(memoryMib), promised: { memory: (promisedMib * mib) as Bytes } },
    ],
    waitMs: 0,
  });
  return instances[0]?.changes[0];
}

/** What must be left to it, in MiB, for its limit to be lent; and what it allocates in passing. */
function lowestMib(app: Process): number {
  const { workingSetBytes } = unit.cgroup.usage(app.group);
  return Math.ceil((workingSetBytes + headroomOf('memory', workingSetBytes)) / mib) + 3;
}

/** Lends all but what it uses at this moment. @returns what it was left, in MiB */
async function lendAll(app: Process, promisedMib: number): Promise<number> {
  let leftMib = 0;
  const status = async (): Promise<string | undefined> => {
    leftMib = lowestMib(app);
    return (await lend(app, leftMib, promisedMib))?.status;
  };
  await expect.poll(status).toBe('applied');
  return leftMib;
}

/** V8 gives back what a round before took some collections later. */
async function collected(app: Process, belowMib: number): Promise<void> {
  const collect = async (): Promise<number> => {
    await app.tell('gc');
    return lowestMib(app);
  };
  await expect.poll(collect).toBeLessThan(belowMib);
}

const held = (app: Process): boolean => unit.cgroup.memoryStrain(app.group).held;

function expectAlive(app: Process): void {
  expect([app.child.exitCode, app.child.signalCode]).toEqual([null, null]);
  expect(unit.cgroup.usage(app.group).oomKills).toBe(0);
}

test('M-B4: what is lent is the kernel’s limit, held for as long as it is lent, and the application is not told', async () => {
  const app = await unit.start(grantOf(300));
  const lentMib = lowestMib(app);
  expect(await lend(app, lentMib, 300)).toMatchObject({
    status: 'applied',
    before: 300 * mib,
    after: lentMib * mib,
  });
  expect(kernelLimit(app)).toBe(lentMib * mib);
  // Longer than a shrink is watched for.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect(held(app)).toBe(true);
  expect(unit.notices.filter(({ memory }) => memory !== 300 * mib)).toEqual([]);
  expect(unit.trims()).toBe(0);
});

test('M-B4: an idle app that needs 200 MiB more at once lives, is given back what was lent, and that is told', async () => {
  const app = await unit.start(grantOf(300));
  await lend(app, lowestMib(app), 300);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  await app.tell('hold 200');
  expectAlive(app);
  expect(kernelLimit(app)).toBe(300 * mib);
  expect(unit.givenBack).toEqual([{ id: app.id, memory: 300 * mib, why: 'strain' }]);
  expect(held(app)).toBe(false);
  expect(unit.resizer.desired(app.id)?.memory).toBe(300 * mib);
});

test('M-B4: lent and given back again and again, in bursts, an app never fails', async () => {
  const app = await unit.start(grantOf(600));
  const restMib = lowestMib(app) + 64;
  for (let round = 1; round <= 15; round += 1) {
    await collected(app, restMib);
    // More than what it was left, whatever V8 has kept of the round before.
    await app.tell(`hold ${(await lendAll(app, 600)) + 10 * round}`);
    await expect.poll(() => unit.givenBack.length).toBe(round);
    await app.tell('hold 0');
  }
  expectAlive(app);
  expect(kernelLimit(app)).toBe(600 * mib);
}, 60_000);

test('M-B4: one that stands still is lent down to what it holds, and has all of it before its code runs', async () => {
  const { cgroup, resizer } = unit;
  const app = await unit.start(grantOf(300));
  await app.tell('hold 50');
  await cgroup.freeze(app.group);
  const holdsMib = Math.ceil(cgroup.usage(app.group).workingSetBytes / mib);
  expect(await lend(app, holdsMib, 300)).toMatchObject({ status: 'applied', after: holdsMib * mib });
  // A request came: it will allocate as soon as it may run.
  const served = app.tell('hold 200');
  await resizer.beforeRun(app.id, 'thaw');
  expect(kernelLimit(app)).toBe(300 * mib);
  expect(unit.givenBack).toEqual([{ id: app.id, memory: 300 * mib, why: 'thaw' }]);
  const { limitHits } = cgroup.memoryStrain(app.group);
  await cgroup.thaw(app.group);
  await served;
  expectAlive(app);
  // It never came to any limit.
  expect(cgroup.memoryStrain(app.group).limitHits).toBe(limitHits);
});

test('less than one that stands still holds is not lent', async () => {
  const app = await unit.start(grantOf(300));
  await app.tell('hold 80');
  await unit.cgroup.freeze(app.group);
  const change = await lend(app, 64, 300);
  expect(change).toMatchObject({ status: 'deferred', after: 300 * mib });
  expect(change?.reason).toContain('while it stands still; 64.0 MiB was asked');
  expect(held(app)).toBe(false);
  await unit.cgroup.thaw(app.group);
});

test('M-B4: an agent that is killed while it lends leaves a hold, and the next one gives back what the record promises', async () => {
  const app = await unit.start(grantOf(300));
  unit.cgroup.holdOutOfMemory(app.group, true);
  const lentMib = lowestMib(app);
  await unit.cgroup.setLimits(app.group, { memoryBytes: lentMib * mib });
  // Nobody looks after it: it waits, or is slowed down, until there is an agent.
  const served = app.tell('hold 150');
  await expect.poll(() => unit.cgroup.usage(app.group).workingSetBytes).toBeGreaterThan((lentMib - 8) * mib);
  await unit.resizer.adopt([app.id], []);
  await served;
  expect(kernelLimit(app)).toBe(300 * mib);
  expect(held(app)).toBe(false);
  expectAlive(app);
});

test('M-B4: a borrower holds what was lent when its owner comes back: both live, past what was to be granted', async () => {
  const owner = await unit.start(grantOf(300));
  const borrower = await unit.start(grantOf(100));
  const lentMib = lowestMib(owner);
  await lend(owner, lentMib, 300);
  await unit.resizer.apply({
    tenants: [],
    instances: [{ id: borrower.id, grant: grantOf(400 - lentMib) }],
    waitMs: 0,
  });
  await borrower.tell('hold 250');
  await owner.tell('hold 200');
  expect(kernelLimit(owner) + kernelLimit(borrower)).toBeGreaterThan(400 * mib);
  [owner, borrower].forEach(expectAlive);
});

test('a request that lends nothing any more ends the loan: more at once, less as any shrink, which restores the promise', async () => {
  const app = await unit.start(grantOf(300));
  const lentMib = lowestMib(app);
  await lend(app, lentMib, 300);
  const ask = async (memoryMib: number) =>
    (
      await unit.resizer.apply({
        tenants: [],
        instances: [{ id: app.id, grant: grantOf(memoryMib) }],
        waitMs: 0,
      })
    ).instances[0]?.changes[0];
  expect(await ask(300)).toMatchObject({ status: 'applied', before: lentMib * mib, after: 300 * mib });
  expect(held(app)).toBe(false);
  await lend(app, lentMib, 300);
  // From what it counts on a shrink, although the kernel’s limit rises or stays.
  expect(await ask(lentMib)).toMatchObject({ status: 'applied', after: lentMib * mib });
  expect(unit.notices.at(-1)).toEqual({ id: app.id, memory: lentMib * mib, phase: 'current' });
  expect(held(app)).toBe(true);
  await app.tell('hold 150');
  expectAlive(app);
  await expect.poll(() => kernelLimit(app)).toBe(300 * mib);
  expect(unit.givenBack).toEqual([]);
  await app.tell('hold 0');
});

test('a promise that changes while it is lent is what is given back', async () => {
  const app = await unit.start(grantOf(300));
  const lentMib = lowestMib(app);
  await lend(app, lentMib, 300);
  await lend(app, lentMib, 400);
  expect(kernelLimit(app)).toBe(lentMib * mib);
  expect(unit.notices.at(-1)).toMatchObject({ memory: 400 * mib, phase: 'current' });
  await app.tell('hold 330');
  expectAlive(app);
  expect(kernelLimit(app)).toBe(400 * mib);
});

/** A file of 200 MiB that is in nobody's cache. */
async function makeFile(): Promise<string> {
  const path = join(tmpdir(), `bellows-lending-${process.pid}`);
  onTestFinished(() => rmSync(path, { force: true }));
  const writer = await unit.start(grantOf(400));
  await writer.tell(`write 200 ${path}`);
  await unit.cgroup.dropCache(writer.group);
  return path;
}

test('cache that fills what was lent is no strain', async () => {
  const app = await unit.start(grantOf(300));
  const path = await makeFile();
  const lentMib = lowestMib(app) + 20;
  await lend(app, lentMib, 300);
  await app.tell(`read 200 ${path}`);
  expect(unit.cgroup.usage(app.group).memoryBytes).toBeGreaterThan((lentMib - 20) * mib);
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect(unit.givenBack).toEqual([]);
  expect(kernelLimit(app)).toBe(lentMib * mib);
  await app.tell('hold 100');
  expect(unit.givenBack.length).toBe(1);
  expectAlive(app);
});

test('M-B4: system calls that need memory past what was lent do not fail', async () => {
  const app = await unit.start(grantOf(600));
  const path = await makeFile();
  const restMib = lowestMib(app) + 64;
  for (let round = 1; round <= 5; round += 1) {
    await collected(app, restMib);
    await lendAll(app, 600);
    await app.tell(`load 200 ${path}`);
    await expect.poll(() => unit.givenBack.length).toBe(round);
    await app.tell('hold 0');
  }
  expectAlive(app);
}, 60_000);

test('M-B4: a process that allocates and frees at random lives through 200 random loans', async () => {
  const app = await unit.start(grantOf(400));
  await app.tell('churn 160');
  const seen = { applied: 0, deferred: 0, infeasible: 0 };
  for (let index = 0; index < 200; index += 1) {
    const change = await lend(app, 60 + Math.floor(Math.random() * 140), 400);
    if (change !== undefined) seen[change.status] += 1;
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 40));
  }
  expectAlive(app);
  expect(seen.infeasible).toBe(0);
  expect(seen.applied).toBeGreaterThan(5);
  expect(unit.givenBack.length).toBeGreaterThan(0);
  await app.tell('rest');
}, 60_000);

test('a tenant’s smaller limit changes nothing of what is lent of its instances', async () => {
  const app = await unit.start(grantOf(300));
  const lentMib = lowestMib(app);
  await lend(app, lentMib, 300);
  await unit.resizer.apply({ tenants: [tenantOf(500, 500)], instances: [], waitMs: 0 });
  expect(kernelLimit(app)).toBe(lentMib * mib);
  expect(unit.notices.filter(({ memory }) => memory !== 300 * mib)).toEqual([]);
  expect(held(app)).toBe(true);
  await app.tell('hold 150');
  expect(kernelLimit(app)).toBe(300 * mib);
  expectAlive(app);
});
