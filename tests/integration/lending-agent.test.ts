// Lent grants by a real agent: a function that stands still has everything before it runs, an application hears nothing of it,
// and an agent that is killed leaves nothing lent.
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { headroomOf } from '../../src/allocator/demand/demand.ts';
import type { InstanceId } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import { defaultRequest } from '../../src/model/workload.ts';
import { groupDirectory, memoryLimitOf, oomKillsOf } from '../support/kernel.ts';
import { suiteNeeding } from '../support/needs.ts';
import {
  evalHandler,
  eventually,
  functionSpec,
  isRoot,
  kill,
  mebibytes,
  run,
  start,
  startAgent,
  startUnit,
  stop,
  stopUnit,
  uidOf,
  writeCode,
  type TestUnit,
} from './agent-process.ts';

const promisedMib = 400;
/** Buffers that are really written to, kept until told otherwise. */
const hold = (count: number): string =>
  `globalThis.held = Array.from({ length: ${count} }, () => Buffer.alloc(1048576, 1)); globalThis.held.length`;

function lend(unit: TestUnit, id: InstanceId, memoryMib: number, toMib = promisedMib) {
  const grant = { ...defaultRequest, memory: mebibytes(memoryMib) };
  const instances = [{ id, grant, promised: { memory: mebibytes(toMib) } }];
  return unit.caller.call('resize', { tenants: [], instances, waitMs: 2000 });
}

/** A function with 400 MiB, and what the kernel says of it. */
async function startFunction(unit: TestUnit, code: string) {
  const started = await start(unit, functionSpec(code, { grant: { memory: mebibytes(promisedMib) } }));
  const { id, pid } = started.instance;
  onTestFinished(() => stop(unit, id));
  const directory = groupDirectory(pid, 'memory');
  const usedBytes = async (): Promise<number> => {
    const { instances } = await unit.caller.call('measure', {});
    return instances.find((each) => each.id === id)?.usage.workingSetBytes ?? 0;
  };
  return {
    id,
    pid,
    run: (js: string) => run(started.endpoint, js),
    limitMib: () => memoryLimitOf(directory) / mib,
    info: async () => (await unit.caller.call('list', {})).instances.find(({ info }) => info.id === id)?.info,
    usedMib: async () => (await usedBytes()) / mib,
    /** What must be left to it while it runs, and what it allocates in passing. */
    lowestMib: async () => {
      const used = await usedBytes();
      return Math.ceil((used + headroomOf('memory', used)) / mib) + 3;
    },
    givenBack: () =>
      unit.events.flatMap((event) =>
        event.event === 'givenBack' && event.data.id === id ? [event.data] : [],
      ),
    expectAlive: () => expect(oomKillsOf(directory)).toBe(0),
  };
}

suiteNeeding('agent that lends', isRoot ? undefined : 'root is needed for groups and sandboxes', () => {
  let unit: TestUnit;
  let code: string;
  beforeAll(async () => {
    unit = await startUnit();
    code = writeCode(unit, 'probe', evalHandler);
    await unit.caller.call('ensureTenant', {
      tenant: 'acme' as never,
      uid: uidOf(1),
      memoryBytes: null,
      cpuMillicores: null,
      weight: 1,
    });
  });
  afterAll(() => stopUnit(unit));

  test('M-B4: a frozen function is lent down to what it holds, trimmed all the same, and has all of it when its next event comes', async () => {
    const app = await startFunction(unit, code);
    await app.run(
      `{ globalThis.notices = []; process.on('bellows:grant', (notice) => globalThis.notices.push(notice.memory)); }`,
    );
    await unit.caller.call('freeze', { id: app.id });
    const lentMib = Math.ceil(await app.usedMib());
    await lend(unit, app.id, lentMib);
    expect(app.limitMib()).toBe(lentMib);
    expect(await app.info()).toMatchObject({
      state: 'frozen',
      grant: { memory: lentMib * mib },
      promised: { memory: promisedMib * mib },
    });
    await unit.caller.call('trim', { id: app.id });
    expect(app.limitMib()).toBe(lentMib);
    expect(app.givenBack()).toEqual([]);
    // The gateway thaws as it sends the event.
    const thawed = unit.caller.call('thaw', { id: app.id });
    expect(await app.run(hold(250))).toEqual({ value: 250 });
    await thawed;
    expect(app.limitMib()).toBe(promisedMib);
    await eventually(() => app.givenBack().length === 1);
    expect(app.givenBack()[0]).toMatchObject({ why: 'thaw', grant: { memory: promisedMib * mib } });
    expect(await app.info()).toMatchObject({
      grant: { memory: promisedMib * mib },
      desired: { memory: promisedMib * mib },
    });
    expect(await app.info()).not.toHaveProperty('promised');
    expect((await app.run('globalThis.notices')).value).toEqual([]);
    app.expectAlive();
  });

  test('M-B4: an idle one that gets an event and needs 250 MiB at once lives, and the file never told it of less', async () => {
    const app = await startFunction(unit, code);
    await lend(unit, app.id, await app.lowestMib());
    expect(app.limitMib()).toBeLessThan(150);
    const told = await app.run(`JSON.parse(fs.readFileSync(process.env.BELLOWS_GRANT_FILE)).memory`);
    expect(told).toEqual({ value: `${promisedMib}MiB` });
    expect(await app.run(hold(250))).toEqual({ value: 250 });
    expect(app.limitMib()).toBe(promisedMib);
    await eventually(() => app.givenBack().length === 1);
    expect(app.givenBack()[0]).toMatchObject({ why: 'strain' });
    app.expectAlive();
  });

  test('M-B4: the agent is killed while it lends: who needs more meanwhile waits, and the next agent gives everything back', async () => {
    const [busy, still] = [await startFunction(unit, code), await startFunction(unit, code)];
    await unit.caller.call('freeze', { id: still.id });
    await lend(unit, busy.id, await busy.lowestMib());
    await lend(unit, still.id, Math.ceil(await still.usedMib()));
    await kill(unit.agent);
    const served = busy.run(hold(250));
    await startAgent(unit);
    expect(await served).toEqual({ value: 250 });
    expect([busy.limitMib(), still.limitMib()]).toEqual([promisedMib, promisedMib]);
    expect(await still.info()).toMatchObject({ state: 'frozen', grant: { memory: promisedMib * mib } });
    await unit.caller.call('thaw', { id: still.id });
    expect(await still.run(hold(250))).toEqual({ value: 250 });
    busy.expectAlive();
    still.expectAlive();
  });

  test('one that is stopped, or ends by itself, while it is lent goes as any other', async () => {
    const app = await startFunction(unit, code);
    const other = await startFunction(unit, code);
    await unit.caller.call('freeze', { id: app.id });
    await lend(unit, app.id, Math.ceil(await app.usedMib()));
    await lend(unit, other.id, await other.lowestMib());
    await stop(unit, app.id, 500);
    process.kill(other.pid, 'SIGKILL');
    await eventually(async () => (await unit.caller.call('list', {})).instances.length === 0);
  });
});

describe('an agent that may limit nobody', () => {
  test('says that nothing can be lent, and grants what was promised', async () => {
    const unit = await startUnit(isRoot ? { uid: 65_534 } : {});
    onTestFinished(() => stopUnit(unit));
    const { capabilities } = await unit.caller.call('hello', {});
    expect(capabilities.memoryLimit).toBe(false);
    const { id } = (await start(unit, functionSpec(writeCode(unit, 'probe', evalHandler)))).instance;
    const { instances } = await lend(unit, id, 64, 128);
    expect(instances[0]?.changes[0]).toMatchObject({ resource: 'memory', status: 'infeasible' });
    expect(instances[0]?.changes[0]?.reason).toContain('nothing of it can be lent');
    const info = (await unit.caller.call('list', {})).instances[0]?.info;
    expect(info).toMatchObject({ grant: { memory: 128 * mib }, desired: { memory: 128 * mib } });
    expect(info).not.toHaveProperty('promised');
  });
});
