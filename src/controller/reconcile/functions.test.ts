// Instances of functions: as many as are needed, as few as will do, and never more than is allowed.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { parseWorkloadName, type InstanceId } from '../../base/ids.ts';
import { gib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import {
  acme,
  defaultSize,
  eventually,
  fn,
  Harness,
  mebibytes,
  type TestGateway,
} from '../testing/harness.ts';

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

describe('acquire', () => {
  test('its route was sent before the answer', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    expect(await harness.running()).toEqual([]);
    const id = await gateway.acquire(hello);
    expect(gateway.changes.some((change) => change.change === 'instance' && change.instance.id === id)).toBe(
      true,
    );
    expect(await harness.running()).toEqual([id]);
  });

  test('its route is sent while it starts, as soon as it can be reached, and again when it serves', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const serves = Promise.withResolvers<void>();
    harness.agent.script.next('start', { do: 'wait', until: serves.promise });
    const acquired = gateway.acquire(hello);
    const starting = (): boolean[] =>
      gateway.changes.flatMap((change) => (change.change === 'instance' ? [change.instance.starting] : []));
    await eventually(() => expect(harness.starts).toBe(1));
    const spec = harness.agent.calls.find(({ method }) => method === 'start')?.params as InstanceSpec;
    harness.agent.sayReachable(spec);
    await eventually(() => expect(starting()).toEqual([true]));
    // It may answer before it is known to serve: who was answered finds it.
    expect((await harness.control.instances()).map((instance) => instance.id)).toEqual([spec.id]);
    serves.resolve();
    expect(await acquired).toBe(spec.id);
    expect(starting()).toEqual([true, false]);
  });

  test.each(['after', 'before'])(
    'one that is stopped for newer code while it starts has not failed: who waits is told to ask again, and its end is told %s that of the start',
    async (order) => {
      await begin();
      const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
      const told = Promise.withResolvers<InstanceId>();
      const start = vi.spyOn(harness.agent.handlers, 'start').mockImplementationOnce(async () => {
        const id = await told.promise;
        if (order === 'before') {
          const how = { code: 0, signal: null, oomKilled: false, reason: 'exit status 0' };
          harness.agent.emit({ event: 'exited', data: { id, workload: hello.key, ...how } });
          await eventually(async () => expect(await harness.control.instances()).toEqual([]));
        }
        const error = { errorType: 'Runtime.ExitError', errorMessage: 'exit status 0', trace: [] };
        return { outcome: 'failed', error };
      });
      vi.spyOn(harness.agent.handlers, 'stop').mockImplementationOnce(async ({ id }) => {
        told.resolve(id);
        return {};
      });
      const acquired = expect(gateway.acquire(hello)).rejects.toThrow('was given up');
      await eventually(() => expect(start).toHaveBeenCalled());
      const code = { sha256: 'c'.repeat(64), sizeBytes: 1 };
      const newer = await harness.control.deploy(acme, fn('hello', { code }), { mustCreate: false });
      await acquired;
      await gateway.acquire(newer);
    },
  );

  test('one that could be reached and fails to start is gone before that is answered', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    let heard: string[] = [];
    const { promise: failed, resolve: fail } = Promise.withResolvers<undefined>();
    vi.spyOn(harness.agent.handlers, 'start').mockImplementation(async (spec) => {
      harness.agent.sayReachable(spec);
      await failed;
      return { outcome: 'failed', error: { errorType: 'TypeError', errorMessage: 'broken', trace: [] } };
    });
    const refused = gateway.acquire(hello).catch(() => (heard = gateway.changes.map(({ change }) => change)));
    await eventually(() => expect(gateway.changes.at(-1)?.change).toBe('instance'));
    fail(undefined);
    await refused;
    expect(heard.at(-1)).toBe('instanceGone');
  });

  test('three that wait at once get three instances, and asking five times more for them starts no more', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    harness.agent.script.always('start', { do: 'delay', ms: 50 });
    const ids = await Promise.all(Array.from({ length: 8 }, () => gateway.acquire(hello, 3)));
    expect(harness.starts).toBe(3);
    expect(new Set(ids).size).toBeLessThanOrEqual(3);
  });

  test('reserved concurrency is never exceeded', async () => {
    await begin();
    await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const hello = await harness.control.setReservedConcurrency(acme, parseWorkloadName('hello'), 2);
    const results = await Promise.allSettled(
      Array.from({ length: 6 }, (_, index) => gateway.acquire(hello, index + 1)),
    );
    expect(harness.starts).toBe(2);
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThanOrEqual(2);
    await expect(gateway.acquire(hello, 9)).rejects.toMatchObject({
      code: 'LimitReached',
      message: expect.stringContaining('it has reserved 2.'),
    });
    const shared = await harness.control.setReservedConcurrency(acme, hello.name, null);
    await harness.control.setLimits(acme, { concurrency: 2 }, { plan: false, waitMs: 0 });
    await expect(gateway.acquire(shared, 9)).rejects.toMatchObject({
      code: 'LimitReached',
      message: expect.stringContaining('the limit of the tenant acme is 2.'),
    });
  });

  test('reservations leave a tenth of the tenant’s limit to functions that have none', async () => {
    await begin();
    for (const name of ['one', 'two']) await harness.control.deploy(acme, fn(name), { mustCreate: true });
    const [one, two] = [parseWorkloadName('one'), parseWorkloadName('two')];
    const reserve = (name: typeof one, count: number | null) =>
      harness.control.setReservedConcurrency(acme, name, count);
    const tooMuch = {
      code: 'Infeasible',
      message: expect.stringMatching(/UnreservedConcurrentExecution below its minimum value of \[2\]\.$/),
    };
    await harness.control.setLimits(acme, { concurrency: 20 }, { plan: false, waitMs: 0 });
    await expect(reserve(one, 19)).rejects.toMatchObject(tooMuch);
    // At the same time: only one of them fits.
    const both = await Promise.allSettled([reserve(one, 10), reserve(two, 10)]);
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(await reserve(two, 8)).toMatchObject({ reservedConcurrency: 8 });
    // A limit may be lowered below what is reserved, and reservations with it, one after the other.
    await harness.control.setLimits(acme, { concurrency: 10 }, { plan: false, waitMs: 0 });
    expect(await reserve(one, 9)).toMatchObject({ reservedConcurrency: 9 });
    await expect(reserve(one, 10)).rejects.toMatchObject({ code: 'Infeasible' });
    expect(await reserve(two, null)).toMatchObject({ reservedConcurrency: null });
  });

  test("a function that fails to start answers with Lambda's payload", async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const error = { errorType: 'ReferenceError', errorMessage: 'x is not defined', trace: ['at index.js:1'] };
    harness.agent.script.next('start', { do: 'answer', result: { outcome: 'failed', error } });
    await expect(gateway.acquire(hello)).rejects.toMatchObject({
      code: 'StartFailed',
      message: JSON.stringify(error),
    });
    expect(await harness.control.instances()).toEqual([]);
    await gateway.acquire(hello);
  });

  test('an unknown function and an old generation are refused', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    await expect(gateway.acquire({ key: 'acme/none', generation: '' })).rejects.toMatchObject({
      code: 'NotFound',
    });
    await expect(gateway.acquire({ key: hello.key, generation: 'old' })).rejects.toMatchObject({
      code: 'Conflict',
    });
  });

  test('an instance is shown as idle and as busy as the gateway says, whether it is frozen or not', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    const shown = async (): Promise<string | undefined> => (await harness.control.instances())[0]?.state;
    expect(await shown()).toBe('busy');
    for (const [sinceMs, state] of [
      [Date.now(), 'idle'],
      [null, 'busy'],
    ] as const) {
      gateway.client.peer?.emit('idle', { id, sinceMs });
      await eventually(async () => expect(await shown()).toBe(state));
    }
  });

  test('what the gateway discards is stopped and its route goes', async () => {
    await begin();
    const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
    const id = await gateway.acquire(hello);
    await gateway.client.call('discard', { id, reason: 'timed out' });
    expect(await harness.running()).toEqual([]);
    await eventually(() =>
      expect(gateway.changes.at(-1)).toMatchObject({ change: 'instanceGone', id, reason: 'timed out' }),
    );
  });
});

describe('room', () => {
  const small = { ...defaultSize, memory: gib / 2 } as Resources;

  test('idle instances of others are ended for one that is needed, longest idle first', async () => {
    await begin({ oversubscription: 1, hostReserveBytes: 0 }, small);
    const [one, two, three] = await Promise.all(
      ['one', 'two', 'three'].map((name) =>
        harness.control.deploy(acme, fn(name, { request: { memory: mebibytes(200) } }), { mustCreate: true }),
      ),
    );
    const first = await gateway.acquire(one!);
    const second = await gateway.acquire(two!);
    // Neither lending nor a trim makes room then.
    for (const id of [first, second]) harness.agent.setInUse(id, mebibytes(190));
    gateway.client.peer?.emit('idle', { id: first, sinceMs: Date.now() - 1_000 });
    gateway.client.peer?.emit('idle', { id: second, sinceMs: Date.now() - 2_000 });
    const third = await gateway.acquire(three!);
    expect(await harness.running()).toEqual([first, third]);
    expect(gateway.retired).toEqual([second]);
  });

  test('busy instances are not ended: the start waits until its deadline, then says NoRoom', async () => {
    await begin({ oversubscription: 1, hostReserveBytes: 0 }, small);
    const one = await harness.control.deploy(acme, fn('one', { request: { memory: mebibytes(500) } }), {
      mustCreate: true,
    });
    const two = await harness.control.deploy(acme, fn('two', { request: { memory: mebibytes(500) } }), {
      mustCreate: true,
    });
    const first = await gateway.acquire(one);
    await expect(gateway.acquire(two, 1, Date.now() + 100)).rejects.toMatchObject({
      code: expect.stringMatching(/NoRoom|TimedOut/),
    });
    expect(await harness.running()).toEqual([first]);
    const waiting = gateway.acquire(two);
    await gateway.client.call('discard', { id: first, reason: 'done' });
    expect(await harness.running()).toEqual([await waiting]);
  });

  test('starts that found no room yet are given up when fewer wait than were asked for, and those needed go on', async () => {
    await begin({ oversubscription: 1, hostReserveBytes: 0 }, small);
    const request = { request: { memory: mebibytes(500) } };
    const one = await harness.control.deploy(acme, fn('one', request), { mustCreate: true });
    const two = await harness.control.deploy(acme, fn('two', request), { mustCreate: true });
    const first = await gateway.acquire(one);
    const acquired = [1, 2, 3].map((waiting) =>
      gateway.acquire(two, waiting, Date.now() + 30_000).catch(() => 'given up'),
    );
    gateway.client.peer?.emit('spare', { workload: two.key, waiting: 1 });
    // The youngest: who waits longest has the best hope of room.
    expect(await Promise.all(acquired.slice(1))).toEqual(['given up', 'given up']);
    await gateway.client.call('discard', { id: first, reason: 'done' });
    expect(await harness.running()).toEqual([await acquired[0]]);
    expect(harness.starts).toBe(2);
    expect(await harness.events('instance.startFailed')).toEqual([]);
  });

  test("under its tenant's limit an instance starts with what the limit leaves", async () => {
    await begin();
    const one = await harness.control.deploy(acme, fn('one', { request: { memory: mebibytes(256) } }), {
      mustCreate: true,
    });
    await harness.control.setLimits(acme, { memory: mebibytes(100) }, { plan: false, waitMs: 0 });
    const id = await gateway.acquire(one);
    expect(harness.agent.instance(id).grant.memory).toBe(mebibytes(100));
  });
});

test('the warm pool grows with starts', async () => {
  await begin();
  const hello = await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
  await Promise.all(Array.from({ length: 5 }, (_, index) => gateway.acquire(hello, index + 1)));
  await eventually(() => {
    const sizes = harness.agent.calls
      .filter(({ method }) => method === 'setPool')
      .map(({ params }) => (params as { size: number }).size);
    expect(sizes.at(-1)).toBeGreaterThanOrEqual(5);
  });
});
