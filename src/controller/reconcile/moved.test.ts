// Workloads that are had to run elsewhere: on this machine, or in virtual machines. The mock agent looks at no place, so what is
// checked here is the order of things, and what its starts were asked for.
import { afterEach, describe, expect, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import { systemClock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { UnitKind } from '../../model/unit-kind.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import { acme, app, eventually, fn, Harness, type TestGateway } from '../testing/harness.ts';

let harness: Harness;
let gateway: TestGateway;

afterEach(async () => {
  gateway.client.close();
  await harness.close();
});

async function begin(kinds: 'both' | UnitKind = 'both'): Promise<void> {
  const config = {
    host: { hostToo: false },
    vm: { units: {}, hostToo: false },
    both: { units: {}, hostToo: true },
  }[kinds];
  harness = await Harness.start({}, undefined, systemClock, config);
  gateway = await harness.gateway();
}

const specs = async (): Promise<readonly InstanceSpec[]> =>
  (await harness.agent.handlers.list({})).instances.map(({ spec }) => spec);

const kindsRunning = async (): Promise<(UnitKind | undefined)[]> =>
  (await specs()).map(({ unitKind }) => unitKind);

function setOpen(id: InstanceId, open: number): void {
  harness.agent.setConnections(id, { open, closedByClient: 0, closedByServer: 0 });
}

describe('a function', () => {
  test('M-C4: is met elsewhere once an instance of it serves there, and what was there ends then', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    gateway.changes.length = 0;
    const serves = Promise.withResolvers<void>();
    harness.agent.script.next('start', { do: 'wait', until: serves.promise });
    const moving = harness.control.moveWorkload(acme, hello.name, 'vm');
    await eventually(() => expect(harness.starts).toBe(2));
    expect(gateway.changes.filter(({ change }) => change === 'workload')).toEqual([]);
    expect(harness.control.unitKindOf(harness.control.getWorkload(acme, hello.name))).toBe('host');
    serves.resolve();
    expect(await moving).toMatchObject({ from: 'host', to: 'vm' });
    const there = harness.control.getWorkload(acme, hello.name);
    expect(harness.control.unitKindOf(there)).toBe('vm');
    const told = gateway.changes.flatMap((change) =>
      change.change === 'workload' ? [[change.workload.generation, change.workload.unitKind]] : [],
    );
    expect(told).toEqual([[there.generation, 'vm']]);
    await eventually(async () => expect(await kindsRunning()).toEqual(['vm']));
    expect(gateway.retired).toEqual([id]);
    expect(await harness.events('workload.moved')).toHaveLength(1);
  });

  test('that can not be started elsewhere goes on where it is, and who moved it is told why', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    gateway.changes.length = 0;
    const error = new BellowsError('NotReady', 'There are no virtual machines yet.');
    harness.agent.script.next('start', { do: 'fail', error });
    await expect(harness.control.moveWorkload(acme, hello.name, 'vm')).rejects.toMatchObject({
      code: 'NotReady',
    });
    expect(harness.control.getWorkload(acme, hello.name)).toEqual(hello);
    expect(await harness.running()).toEqual([id]);
    expect(gateway.retired).toEqual([]);
    expect(gateway.changes.filter(({ change }) => change === 'workload')).toEqual([]);
  });

  test('that nobody runs is moved without a start, and its next instance is there', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    await harness.control.moveWorkload(acme, hello.name, 'vm');
    expect(harness.starts).toBe(0);
    await gateway.acquire(harness.control.getWorkload(acme, hello.name));
    expect(await kindsRunning()).toEqual(['vm']);
  });

  test('that is there already is not moved', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    expect(await harness.control.moveWorkload(acme, hello.name, 'host')).toMatchObject({ durationMs: 0 });
    expect(await harness.running()).toEqual([id]);
    expect(await harness.events('workload.moved')).toEqual([]);
  });

  test('that was moved stays there with new code that does not say where it is to run', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello', { unit: 'vm' }), { mustCreate: true });
    await harness.control.moveWorkload(acme, hello.name, 'host');
    await harness.control.moveWorkload(acme, hello.name, 'vm');
    const newer = await harness.control.deploy(acme, fn('hello', { env: { A: '1' } }), { mustCreate: false });
    expect(harness.control.unitKindOf(newer)).toBe('vm');
    const back = await harness.control.deploy(acme, fn('hello', { unit: 'host' }), { mustCreate: false });
    expect(harness.control.unitKindOf(back)).toBe('host');
  });
});

describe('an app', () => {
  test('M-C4: takes new connections elsewhere, and those that are open stay where they are until they end', async () => {
    await begin();
    const chat = await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const [before] = await harness.running();
    setOpen(before!, 2);
    await harness.control.moveWorkload(acme, chat.name, 'vm');
    await eventually(async () => expect(await kindsRunning()).toEqual(['host', 'vm']));
    const there = harness.control.getWorkload(acme, chat.name);
    // Gateways give new connections to instances of the generation that they were told last.
    expect(gateway.changes.findLast(({ change }) => change === 'workload')).toMatchObject({
      workload: { generation: there.generation },
    });
    setOpen(before!, 1);
    // Whatever is looked at meanwhile.
    await harness.control.setTags(acme, chat.name, { looked: 'at' });
    expect(await kindsRunning()).toEqual(['host', 'vm']);
    expect(gateway.retired).toEqual([]);
    setOpen(before!, 0);
    await eventually(async () => expect(await kindsRunning()).toEqual(['vm']));
    expect(gateway.retired).toEqual([before]);
  });

  test('that moves back meanwhile goes on in the instance that stayed, and starts none', async () => {
    await begin();
    const chat = await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const [before] = await harness.running();
    setOpen(before!, 1);
    await harness.control.moveWorkload(acme, chat.name, 'vm');
    await harness.control.moveWorkload(acme, chat.name, 'host');
    await eventually(async () => expect(await harness.running()).toEqual([before]));
    expect(harness.starts).toBe(2);
  });

  test('whose code is replaced after it was moved is kept for nobody’s connections', async () => {
    await begin();
    const chat = await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const [before] = await harness.running();
    setOpen(before!, 1);
    await harness.control.moveWorkload(acme, chat.name, 'vm');
    await harness.control.deploy(acme, app('chat', { env: { A: '1' } }), { mustCreate: false });
    await eventually(async () => expect(await harness.running()).not.toContain(before));
    expect(await kindsRunning()).toEqual(['vm']);
  });

  test('that does not listen elsewhere goes on where it is, and who moved it is told why', async () => {
    await begin();
    const chat = await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const before = await harness.running();
    const error = { errorType: 'Runtime.ExitError', errorMessage: 'no libc', trace: [] };
    harness.agent.script.next('start', { do: 'answer', result: { outcome: 'failed', error } });
    await expect(harness.control.moveWorkload(acme, chat.name, 'vm')).rejects.toMatchObject({
      code: 'StartFailed',
    });
    expect(harness.control.unitKindOf(harness.control.getWorkload(acme, chat.name))).toBe('host');
    expect(await harness.running()).toEqual(before);
  });
});

describe('where nothing runs', () => {
  test.each([
    ['host', 'vm'],
    ['vm', 'host'],
  ] as const)(
    'with --unit %s nothing is deployed or moved to %s, and that says what to do',
    async (only, other) => {
      await begin(only);
      const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
      const refused = { code: 'NotSupportedHere', hint: expect.stringContaining('--unit both') };
      await expect(harness.control.moveWorkload(acme, hello.name, other)).rejects.toMatchObject(refused);
      await expect(
        harness.control.deploy(acme, fn('there', { unit: other }), { mustCreate: true }),
      ).rejects.toMatchObject(refused);
      await gateway.acquire(hello);
      expect(await kindsRunning()).toEqual([only]);
    },
  );

  test('a workload that was to run in virtual machines does not run on the machine itself instead', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello', { unit: 'vm' }), { mustCreate: true });
    gateway.client.close();
    await harness.restartWith({ units: undefined, hostToo: false });
    gateway = await harness.gateway();
    await expect(gateway.acquire(hello)).rejects.toMatchObject({ code: 'NotSupportedHere' });
    expect(await harness.running()).toEqual([]);
  });
});
