// Instances that have less memory than was asked for them, on the running kernel, with Node processes that need more than they
// have: nobody is killed for it, and who needs more than was asked for it still is.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { mib, type Bytes } from '../../src/base/quantity.ts';
import { grantOf, makeUnit, type Process } from './resize-unit.ts';

let unit: ReturnType<typeof makeUnit>;

beforeEach((context) => {
  unit = makeUnit();
  if (!unit.cgroup.capabilities.memoryLimit)
    context.skip('this machine lets nobody here enforce a memory limit');
});
afterEach(() => unit.close());

/** Room for no more than this of what is asked for it. */
async function grant(app: Process, memoryMib: number, requestedMib: number) {
  const { instances } = await unit.resizer.apply({
    tenants: [],
    instances: [
      { id: app.id, grant: grantOf(memoryMib), requested: { memory: (requestedMib * mib) as Bytes } },
    ],
    waitMs: 0,
  });
  return instances[0]?.changes[0]?.status;
}

/** Started with so much, for there is no room for more. */
async function startShort(memoryMib: number, requestedMib: number): Promise<Process> {
  const app = await unit.start(grantOf(memoryMib));
  await grant(app, memoryMib, requestedMib);
  return app;
}

const held = (app: Process): boolean => unit.cgroup.memoryStrain(app.group).held;
const strains = (): string[] => unit.strains.map(({ strain }) => strain);
/** Whether what it was told has been done by now. */
async function isDone(work: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending');
  return (await Promise.race([work, Promise.resolve(pending)])) !== pending;
}

function expectAlive(app: Process): void {
  expect([app.child.exitCode, app.child.signalCode]).toEqual([null, null]);
  expect(unit.cgroup.usage(app.group).oomKills).toBe(0);
}

test('M-B4: who needs more than it has room for, and no more than was asked for it, waits instead of being killed, and goes on with more', async () => {
  const app = await startShort(120, 300);
  expect(held(app)).toBe(true);
  const served = app.tell('hold 200');
  await expect.poll(strains).toContain('waiting');
  expect(unit.strains.at(-1)).toMatchObject({ id: app.id, limitBytes: 120 * mib, requestedBytes: 300 * mib });
  expect(await isDone(served)).toBe(false);
  expectAlive(app);
  // Still not all of it: it is held on.
  expect(await grant(app, 180, 300)).toBe('applied');
  const last = () => unit.strains.at(-1);
  await expect.poll(last).toMatchObject({ strain: 'waiting', limitBytes: 180 * mib });
  expect([held(app), await isDone(served)]).toEqual([true, false]);
  await grant(app, 300, 300);
  await served;
  expect(held(app)).toBe(false);
  expect(strains().at(-1)).toBe('easy');
  expectAlive(app);
});

test('M-B4: it is told of before it must wait, so that with room it never does', async () => {
  const app = await startShort(120, 400);
  let grants = 0;
  const given = setInterval(() => {
    // As a controller that has room: at the first word, all of it.
    if (grants > 0 || unit.strains.length === 0) return;
    grants += 1;
    void grant(app, 400, 400);
  }, 1);
  await app.tell('hold 250');
  clearInterval(given);
  expect(grants).toBe(1);
  expectAlive(app);
});

test('M-B4: who uses less again need not wait any more, and that is told', async () => {
  const app = await unit.start(grantOf(300));
  await app.tell('hold 60');
  const { workingSetBytes } = unit.cgroup.usage(app.group);
  await grant(app, Math.ceil(workingSetBytes / mib) + 12, 300);
  await expect.poll(() => strains().at(-1)).toBe('near');
  await app.tell('hold 0');
  await app.tell('gc');
  await expect.poll(() => strains().at(-1)).toBe('easy');
  expect(held(app)).toBe(true);
});

test('who needs more than was asked for it is killed by the kernel, as ever', async () => {
  const app = await startShort(120, 160);
  const served = app.tell('hold 250').catch((error: unknown) => error);
  await expect.poll(strains).toContain('waiting');
  await grant(app, 160, 160);
  expect(await served).toBeInstanceOf(Error);
  expect(unit.cgroup.usage(app.group).oomKills).toBe(1);
});

test('M-B4: a loan of what is less than was asked for goes back to that when it is needed, and is held on', async () => {
  const app = await unit.start(grantOf(300));
  const workingMib = Math.ceil(unit.cgroup.usage(app.group).workingSetBytes / mib);
  const lentMib = workingMib + 32;
  const promisedMib = lentMib + 60;
  await expect
    .poll(async () => {
      const { instances } = await unit.resizer.apply({
        tenants: [],
        instances: [
          {
            id: app.id,
            grant: grantOf(lentMib),
            promised: { memory: (promisedMib * mib) as Bytes },
            requested: { memory: (300 * mib) as Bytes },
          },
        ],
        waitMs: 0,
      });
      return instances[0]?.changes[0]?.status;
    })
    .toBe('applied');
  const served = app.tell('hold 220');
  await expect.poll(strains).toContain('waiting');
  expect(unit.givenBack).toMatchObject([{ memory: promisedMib * mib, why: 'strain' }]);
  expect([held(app), await isDone(served)]).toEqual([true, false]);
  await grant(app, 300, 300);
  await served;
  expect(held(app)).toBe(false);
  expectAlive(app);
});

test('M-B4: an agent that dies leaves nobody waiting: the next one lets who stands at its limit go on', async () => {
  const app = await startShort(120, 300);
  const served = app.tell('hold 200');
  await expect.poll(strains).toContain('waiting');
  // What the next agent does first, before it knows what is asked for anybody.
  await unit.resizer.adopt([app.id], []);
  await served;
  expectAlive(app);
});

test('M-B4: one that waits and is ended, as at the deadline of its call, ends at once', async () => {
  const app = await startShort(120, 300);
  const served = app.tell('hold 200').catch((error: unknown) => error);
  await expect.poll(strains).toContain('waiting');
  await unit.cgroup.kill(app.group);
  expect(await served).toBeInstanceOf(Error);
  // Its output ends a moment before that is known.
  await expect.poll(() => app.child.signalCode).toBe('SIGKILL');
});
