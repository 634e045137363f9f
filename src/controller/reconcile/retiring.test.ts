// Instances of functions that are not needed any more: idle for too long, or of code that was replaced, and what is kept. Which are
// started, and how many, is in functions.test.ts.
import { afterEach, describe, expect, test } from 'vitest';
import type { InstanceSpec } from '../../protocol/agent.ts';
import { acme, app, eventually, fn, Harness, mebibytes, type TestGateway } from '../testing/harness.ts';

let harness: Harness;
let gateway: TestGateway;

async function begin(...parameters: Parameters<typeof Harness.start>): Promise<void> {
  harness = await Harness.start(...parameters);
  gateway = await harness.gateway();
}

afterEach(async () => {
  gateway.client.close();
  await harness.close();
});

describe('what is not needed any more', () => {
  test('an instance that was idle for the keep-alive is retired, then stopped', async () => {
    await begin({ keepAlive: { type: 'fixed', keptMs: 200 } });
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    gateway.client.peer?.emit('idle', { id, sinceMs: Date.now() });
    await eventually(async () => expect(await harness.running()).toEqual([]));
    expect(gateway.retired).toEqual([id]);
  });

  test('one that is in use is kept, however long ago it was idle', async () => {
    await begin({ keepAlive: { type: 'fixed', keptMs: 30 } });
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    const traffic = {
      workload: hello.key,
      requests: 1,
      errors: 0,
      throttles: 0,
      busyInstances: 1,
      waiting: 0,
      connections: 0,
      bytesIn: 0,
      bytesOut: 0,
    };
    gateway.client.peer?.emit('traffic', [traffic]);
    gateway.client.peer?.emit('idle', { id, sinceMs: Date.now() - 1_000 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await harness.running()).toEqual([id]);
  });

  test('new code retires instances of the old, after what is in flight', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    const updated = await harness.control.updateFunction(acme, hello.name, { env: { A: '1' } });
    expect(updated.generation).not.toBe(hello.generation);
    await eventually(async () => expect(await harness.running()).not.toContain(id));
    expect(gateway.retired).toEqual([id]);
  });

  test('new code retires one of the old that starts and can be reached already: it may have begun with what it was sent', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const serves = Promise.withResolvers<void>();
    harness.agent.script.next('start', { do: 'wait', until: serves.promise });
    const acquired = gateway.acquire(hello).catch(() => 'asked again');
    await eventually(() => expect(harness.starts).toBe(1));
    const spec = harness.agent.calls.find(({ method }) => method === 'start')?.params as InstanceSpec;
    harness.agent.sayReachable(spec);
    await eventually(() => expect(gateway.changes.at(-1)?.change).toBe('instance'));
    await harness.control.deploy(acme, fn('hello', { env: { A: '1' } }), { mustCreate: false });
    serves.resolve();
    expect(await acquired).toBe('asked again');
    await eventually(async () => expect(await harness.running()).toEqual([]));
    expect(gateway.retired).toEqual([spec.id]);
  });

  test('new code for a function in use is met once an instance of it serves, and what was there serves until then', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    gateway.changes.length = 0;
    const serves = Promise.withResolvers<void>();
    harness.agent.script.next('start', { do: 'wait', until: serves.promise });
    const deployed = harness.control.deploy(acme, fn('hello', { env: { A: '1' } }), { mustCreate: false });
    await eventually(() => expect(harness.starts).toBe(2));
    // More of the code before are to be had meanwhile.
    const another = await gateway.acquire(hello);
    expect(gateway.changes.every(({ change }) => change === 'instance')).toBe(true);
    serves.resolve();
    const { generation } = await deployed;
    const told = gateway.changes.flatMap((change) => {
      if (change.change === 'workload') return [`code ${change.workload.generation}`];
      const serves = change.change === 'instance' && !change.instance.starting;
      return serves ? [`instance ${change.instance.generation}`] : [];
    });
    expect(told).toEqual([`instance ${hello.generation}`, `instance ${generation}`, `code ${generation}`]);
    await eventually(async () => expect(await harness.running()).toHaveLength(1));
    expect(gateway.retired.toSorted()).toEqual([id, another].toSorted());
    expect(harness.starts).toBe(3);
  });

  test('new code that does not start is put in place all the same: who calls it is told', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    const error = { errorType: 'ReferenceError', errorMessage: 'x is not defined', trace: [] };
    harness.agent.script.always('start', { do: 'answer', result: { outcome: 'failed', error } });
    const newer = await harness.control.deploy(acme, fn('hello', { env: { A: '1' } }), { mustCreate: false });
    expect(newer.generation).not.toBe(hello.generation);
    await eventually(async () => expect(await harness.running()).not.toContain(id));
    await expect(gateway.acquire(newer)).rejects.toMatchObject({ code: 'StartFailed' });
  });

  test('new code for a function that nobody calls starts nothing', async () => {
    await begin();
    await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    await harness.control.deploy(acme, fn('hello', { env: { A: '1' } }), { mustCreate: false });
    expect(harness.starts).toBe(0);
  });

  test('memory and timeout change while it runs: same instance, same generation', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    const updated = await harness.control.updateFunction(acme, hello.name, {
      request: { memory: mebibytes(256) },
      timeoutMs: 5_000,
    });
    expect(updated).toMatchObject({
      generation: hello.generation,
      timeoutMs: 5_000,
      request: { memory: mebibytes(256) },
    });
    expect(updated.revisionId).not.toBe((hello as { revisionId?: string }).revisionId);
    expect(harness.agent.instance(id).grant.memory).toBe(mebibytes(256));
    expect(await harness.running()).toEqual([id]);
  });

  test('a URL is given and taken while it runs: same instance, and gateways are told', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    for (const url of [true, false]) {
      expect(await harness.control.updateFunction(acme, hello.name, { url })).toMatchObject({ url });
      expect(harness.control.getWorkload(acme, hello.name)).toMatchObject({ url });
      await eventually(() =>
        expect(gateway.changes.findLast(({ change }) => change === 'workload')).toMatchObject({
          workload: { key: hello.key, url },
        }),
      );
    }
    expect(await harness.running()).toEqual([id]);
  });

  test('a function replaced by an app of the same name leaves no instance behind', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    await harness.control.deploy(acme, app('hello'), { mustCreate: false });
    await eventually(async () => expect(await harness.running()).not.toContain(id));
    expect(await harness.running()).toHaveLength(1);
  });
});
