// What becomes of apps: deployed, crashing, replaced, removed, and through restarts of controller and agent.
import { mkdir, readdir } from 'node:fs/promises';
import { afterEach, describe, expect, test } from 'vitest';
import type { BellowsError } from '../../base/errors.ts';
import { parseWorkloadName } from '../../base/ids.ts';
import type { Behaviour } from '../../units/mock/script.ts';
import { acme, app, eventually, Harness } from '../testing/harness.ts';

const chat = parseWorkloadName('chat');
let harness: Harness;

afterEach(async () => {
  await harness.close();
});

const startFails: Behaviour<'start'> = {
  do: 'answer',
  result: {
    outcome: 'failed',
    error: { errorType: 'Runtime.ExitError', errorMessage: 'no module', trace: [] },
  },
};

describe('deploying', () => {
  test('an app runs as often as its scale says, and is deployed when it listens', async () => {
    harness = await Harness.start();
    const workload = await harness.control.deploy(acme, app('chat', { scale: 3 }), { mustCreate: true });
    expect(workload.generation).toMatch(/^[0-9a-f]{16}$/);
    await eventually(async () => expect(await harness.running()).toHaveLength(3));
    expect(harness.starts).toBe(3);
    const views = await harness.control.instances();
    expect(views.map((view) => [view.tenant, view.workload, view.state])).toEqual(
      Array.from({ length: 3 }, () => ['acme', 'acme/chat', 'idle']),
    );
  });

  test('a first deployment that can not start fails with its error and leaves nothing', async () => {
    harness = await Harness.start();
    harness.agent.script.next('start', startFails);
    const deployed = harness.control.deploy(acme, app('chat'), { mustCreate: true });
    await expect(deployed).rejects.toMatchObject({
      code: 'StartFailed',
      message: expect.stringContaining('no module'),
    });
    expect(harness.control.listWorkloads(acme)).toEqual([]);
    expect(await harness.running()).toEqual([]);
    // A second try would cost the half minute that an app may take, and the room.
    expect(harness.agent.calls.filter(({ method }) => method === 'start')).toHaveLength(1);
  });

  test('a new deployment that can not start fails, and the old one serves on untouched', async () => {
    harness = await Harness.start();
    const old = await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const before = await harness.running();
    harness.agent.script.next('start', startFails);
    const next = harness.control.deploy(acme, app('chat', { env: { A: '1' } }), { mustCreate: false });
    await expect(next).rejects.toMatchObject({ code: 'StartFailed' });
    expect(harness.control.getWorkload(acme, chat)).toEqual(old);
    expect(await harness.running()).toEqual(before);
  });

  test('an app whose instances crash says so, why, and when it is tried again, until it runs', async () => {
    harness = await Harness.start({ restartFirstMs: 200 });
    const { key } = await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    expect(harness.control.restartOf(key)).toBeNull();
    const [id] = await harness.running();
    const crashedAtMs = Date.now();
    harness.agent.exit(id!, { reason: 'exit status 3', code: 3 });
    expect(harness.control.restartOf(key)).toMatchObject({
      failures: 1,
      reason: expect.stringContaining('exit status 3'),
    });
    expect(harness.control.restartOf(key)?.nextStartAtMs).toBeGreaterThanOrEqual(crashedAtMs + 200);
    await eventually(async () => expect(await harness.running()).toHaveLength(1));
    await eventually(() => expect(harness.control.restartOf(key)).toBeNull());
  });

  test('the old instance is stopped only after the new one listens', async () => {
    harness = await Harness.start();
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const [old] = await harness.running();
    harness.agent.script.next('start', { do: 'delay', ms: 50 });
    const next = await harness.control.deploy(acme, app('chat', { env: { A: '1' } }), { mustCreate: false });
    await eventually(async () => {
      const running = await harness.running();
      expect(running).toHaveLength(1);
      expect(running).not.toContain(old);
    });
    const calls = harness.agent.calls
      .filter(({ method }) => method === 'start' || method === 'stop')
      .map(({ method }) => method);
    expect(calls).toEqual(['start', 'start', 'stop']);
    expect(harness.agent.instance((await harness.running())[0]!).generation).toBe(next.generation);
  });

  test('a second deployment with mustCreate is refused', async () => {
    harness = await Harness.start();
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    await expect(harness.control.deploy(acme, app('chat'), { mustCreate: true })).rejects.toMatchObject({
      code: 'Conflict',
    });
    expect(harness.starts).toBe(1);
  });

  test('removing a workload while it starts ends the start and leaves nothing', async () => {
    harness = await Harness.start();
    const serves = Promise.withResolvers<void>();
    harness.agent.script.next('start', { do: 'wait', until: serves.promise });
    const deployed = harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const outcome = deployed.then(
      () => 'deployed',
      (error: BellowsError) => error.code,
    );
    await eventually(() => expect(harness.starts).toBe(1));
    const removed = harness.control.deleteWorkload(acme, chat);
    await eventually(() => expect(() => harness.control.getWorkload(acme, chat)).toThrow());
    serves.resolve();
    await removed;
    expect(await outcome).toBe('Conflict');
    expect(await harness.running()).toEqual([]);
    expect(await harness.control.instances()).toEqual([]);
  });

  test('code of a replaced deployment is deleted when no instance uses it, its archive too', async () => {
    harness = await Harness.start();
    const { layout } = harness.started;
    const submit = async (archive: string) => {
      const code = await harness.control.storeArchive(acme, Buffer.from(archive));
      await mkdir(layout.codeOf(acme, code.sha256), { recursive: true });
      return code;
    };
    const first = await submit('first');
    const old = await harness.control.deploy(acme, app('chat', { code: first }), { mustCreate: true });
    const second = await submit('second');
    // The lease of an archive that was just submitted ends with the controller; a sweep is part of its start.
    const next = await harness.control.deploy(acme, app('chat', { code: second }), { mustCreate: false });
    await eventually(async () => expect(await harness.running()).toHaveLength(1));
    expect(await readdir(`${layout.code}/acme`)).toContain(second.sha256);
    await harness.restart();
    expect(await readdir(`${layout.code}/acme`)).toEqual([second.sha256]);
    await expect(harness.control.codeArchive(old)).rejects.toMatchObject({ code: 'NotFound' });
    expect((await harness.control.codeArchive(next)).toString()).toBe('second');
  });

  test('gateways hear of a workload before its instances, and of a new generation before its own', async () => {
    harness = await Harness.start();
    const gateway = await harness.gateway();
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    await harness.control.deploy(acme, app('chat', { env: { A: '1' } }), { mustCreate: false });
    const heard = () =>
      gateway.changes.map((change) =>
        change.change === 'instance'
          ? `instance ${change.instance.generation}`
          : change.change === 'workload'
            ? `workload ${change.workload.generation}`
            : change.change,
      );
    await eventually(() => expect(heard().at(-1)).toBe('instanceGone'));
    const workloads = heard().filter((what) => what.startsWith('workload'));
    expect(workloads).toHaveLength(2);
    expect(heard()).toEqual([
      workloads[0],
      workloads[0]?.replace('workload', 'instance'),
      workloads[1],
      workloads[1]?.replace('workload', 'instance'),
      'instanceGone',
    ]);
    expect(gateway.retired).toHaveLength(1);
    gateway.client.close();
  });
});

describe('crashing', () => {
  test('an app that ends by itself is started again, and the pause grows while it keeps crashing', async () => {
    harness = await Harness.start();
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const times: number[] = [];
    for (let crash = 1; crash <= 4; crash += 1) {
      const [id] = await harness.running();
      const at = performance.now();
      harness.agent.exit(id!, { reason: 'it threw', code: 1 });
      await eventually(() => expect(harness.starts).toBe(1 + crash));
      await eventually(async () => expect(await harness.running()).toHaveLength(1));
      times.push(performance.now() - at);
    }
    expect(times[3]).toBeGreaterThan(times[0]!);
    expect(await harness.events('instance.exited')).toHaveLength(4);
  });

  test('an instance killed for memory is reported to gateways as such', async () => {
    harness = await Harness.start();
    const gateway = await harness.gateway();
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const [id] = await harness.running();
    harness.agent.exit(id!, { reason: 'out of memory', oomKilled: true });
    await eventually(() =>
      expect(gateway.changes).toContainEqual({
        change: 'instanceGone',
        id,
        workload: 'acme/chat',
        reason: 'out of memory',
        oomKilled: true,
      }),
    );
    gateway.client.close();
  });
});

describe('restarts', () => {
  test('a new controller adopts what runs and starts nothing', async () => {
    harness = await Harness.start();
    await harness.control.deploy(acme, app('chat', { scale: 2 }), { mustCreate: true });
    await eventually(async () => expect(await harness.running()).toHaveLength(2));
    const before = await harness.running();
    await harness.restart();
    const gateway = await harness.gateway();
    expect(gateway.table.instances.map(({ id }) => id).sort()).toEqual([...before].sort());
    expect(await harness.running()).toEqual(before);
    expect(harness.starts).toBe(2);
    gateway.client.close();
  });

  test('instances that nothing wants are stopped', async () => {
    harness = await Harness.start();
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const { instances } = await harness.agent.handlers.list({});
    const { spec } = instances[0]!;
    await harness.agent.handlers.start({
      ...spec,
      id: 'i-orphan' as never,
      workload: 'acme/unknown' as never,
    });
    await eventually(async () => expect(await harness.running()).toEqual([spec.id]));
  });

  test('an agent that was away is given tenants again, and its instances are kept', async () => {
    harness = await Harness.start();
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const before = await harness.running();
    harness.unit.disconnect();
    expect((await harness.control.units())[0]?.state).toBe('disconnected');
    const tenantsBefore = harness.agent.calls.filter(({ method }) => method === 'ensureTenant').length;
    harness.unit.reconnect();
    await eventually(async () => expect((await harness.control.units())[0]?.state).toBe('ready'));
    expect(harness.agent.calls.filter(({ method }) => method === 'ensureTenant').length).toBeGreaterThan(
      tenantsBefore,
    );
    expect(await harness.running()).toEqual(before);
    expect(harness.starts).toBe(1);
  });

  test('a start whose answer was lost is found again, not repeated', async () => {
    harness = await Harness.start();
    const serves = Promise.withResolvers<void>();
    harness.agent.script.next('start', { do: 'wait', until: serves.promise });
    const deployed = harness.control.deploy(acme, app('chat'), { mustCreate: true });
    await eventually(() => expect(harness.starts).toBe(1));
    harness.unit.disconnect();
    // The agent starts it all the same.
    serves.resolve();
    await eventually(async () => expect(await harness.running()).toHaveLength(1));
    harness.unit.reconnect();
    await deployed;
    expect(harness.starts).toBe(1);
    expect(await harness.running()).toHaveLength(1);
  });

  test('what ended while the agent was away is started anew', async () => {
    harness = await Harness.start();
    await harness.control.deploy(acme, app('chat'), { mustCreate: true });
    const [id] = await harness.running();
    harness.unit.disconnect();
    harness.agent.exit(id!, { reason: 'unseen' });
    harness.unit.reconnect();
    await eventually(async () => {
      const running = await harness.running();
      expect(running).toHaveLength(1);
      expect(running).not.toContain(id);
    });
    expect(harness.starts).toBe(2);
  });
});
