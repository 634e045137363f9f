// What becomes of grants while not everybody can have what it asks for: who idles lends, and has it back when it needs it.
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import type { Bytes } from '../../base/quantity.ts';
import type { FunctionWorkload } from '../../model/workload.ts';
import type { ResizeRequest } from '../../protocol/agent.ts';
import type { Tuning } from '../config.ts';
import {
  acme,
  app,
  defaultSize,
  eventually,
  fn,
  Harness,
  mebibytes,
  type TestGateway,
} from '../testing/harness.ts';

let harness: Harness;
let gateway: TestGateway;
afterEach(async () => {
  gateway.client.close();
  await harness.close();
});

/** A unit whose memory is granted once. */
async function unitOf(memory: Bytes, tuning: Partial<Tuning> = {}): Promise<void> {
  harness = await Harness.start(
    { oversubscription: 1, hostReserveBytes: 0, keepAlive: { type: 'fixed', keptMs: 600_000 }, ...tuning },
    { ...defaultSize, memory },
  );
  gateway = await harness.gateway();
}

const longAgo = (): number => Date.now() - 5_000;

async function idleFunction(name: string, memory: Bytes): Promise<[InstanceId, FunctionWorkload]> {
  const workload = await harness.control.deploy(acme, fn(name, { request: { memory } }), {
    mustCreate: true,
  });
  const id = await gateway.acquire(workload);
  gateway.client.peer?.emit('idle', { id, sinceMs: longAgo() });
  await eventually(async () => {
    const views = await harness.control.instances();
    expect(views.find((view) => view.id === id)?.state).toBe('idle');
  });
  return [id, workload as FunctionWorkload];
}

async function busyApp(name: string, memory: Bytes): Promise<InstanceId> {
  const before = await harness.running();
  await harness.control.deploy(acme, app(name, { request: { memory } }), { mustCreate: true });
  const id = (await harness.running()).find((each) => !before.includes(each)) as InstanceId;
  harness.agent.setInUse(id, memory - mebibytes(10));
  return id;
}

const granted = (id: InstanceId): number => harness.agent.instance(id).grant.memory / mebibytes(1);
const promised = (id: InstanceId): number | undefined => {
  const memory = harness.agent.instance(id).promised?.memory;
  return memory === undefined ? undefined : memory / mebibytes(1);
};
const resizes = (): ResizeRequest[] =>
  harness.agent.calls
    .filter(({ method, params }) => method === 'resize' && (params as ResizeRequest).instances.length > 0)
    .map(({ params }) => params as ResizeRequest);
const ticks = (count: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, count * (harness.tuning.tickMs ?? 0)));

describe('while there is room', () => {
  test('nobody is granted otherwise, however little it demands', async () => {
    await unitOf(mebibytes(1_024));
    const [idle] = await idleFunction('worker', mebibytes(256));
    const busy = await busyApp('chat', mebibytes(512));
    await ticks(10);
    expect([granted(idle), granted(busy)]).toEqual([256, 512]);
    expect(resizes()).toEqual([]);
  });
});

describe('where room is short', () => {
  test('M-C2 M-B1: who idles lends to who asks for more, at once, and is promised what it lent', async () => {
    await unitOf(mebibytes(512));
    const [idle] = await idleFunction('worker', mebibytes(256));
    const busy = await busyApp('chat', mebibytes(256));
    const change = await harness.control.resizeWorkload(
      acme,
      app('chat').name,
      { memory: mebibytes(400) },
      { plan: false, waitMs: 0 },
    );
    expect(change.status).toBe('applied');
    expect([granted(idle), granted(busy)]).toEqual([112, 400]);
    expect(promised(idle)).toBe(256);
    const taken = change.instances.find(({ instance }) => instance === idle)?.changes;
    expect(taken).toMatchObject([{ resource: 'memory', before: mebibytes(256), after: mebibytes(112) }]);
  });

  test('M-B4: the agent is told what was asked for who has less, and who waits at that is shown, told and given what is freed', async () => {
    await unitOf(mebibytes(512));
    const one = await busyApp('chat', mebibytes(256));
    const two = await busyApp('news', mebibytes(256));
    const wanted = { memory: mebibytes(400) };
    await harness.control.resizeWorkload(acme, app('chat').name, wanted, { plan: false, waitMs: 0 });
    const askedFor = (id: InstanceId): number | undefined =>
      resizes()
        .flatMap(({ instances }) => instances)
        .findLast((part) => part.id === id)?.requested?.memory;
    await eventually(async () => expect(askedFor(one)).toBe(wanted.memory));
    expect([granted(one), askedFor(two)]).toEqual([256, undefined]);

    const requestedBytes = wanted.memory;
    const limitBytes = mebibytes(256);
    harness.agent.emit({
      event: 'strained',
      data: { id: one, strain: 'waiting', limitBytes, requestedBytes },
    });
    await eventually(async () => {
      const view = (await harness.control.instances()).find(({ id }) => id === one);
      expect(view?.strain).toMatchObject({ is: 'waiting', requestedBytes });
    });
    await eventually(async () => {
      const told = await harness.events('memory.waiting');
      expect(told).toMatchObject([{ tenant: acme, workload: 'acme/chat', instance: one }]);
    });
    await harness.control.deleteWorkload(acme, app('news').name);
    await eventually(async () => expect(granted(one)).toBe(400));
    expect(askedFor(one)).toBeUndefined();
  });

  test('the plan shows from whom it would be taken, and takes nothing', async () => {
    await unitOf(mebibytes(512));
    const [idle] = await idleFunction('worker', mebibytes(256));
    await busyApp('chat', mebibytes(256));
    const name = app('chat').name;
    const plan = await harness.control.resizeWorkload(
      acme,
      name,
      { memory: mebibytes(400) },
      { plan: true, waitMs: 0 },
    );
    expect(plan.instances.find(({ instance }) => instance === idle)?.changes).toMatchObject([
      { resource: 'memory', before: mebibytes(256), after: mebibytes(112) },
    ]);
    expect(resizes()).toEqual([]);
  });

  test('M-B4: who gave itself back what it had lent keeps it, and others shrink', async () => {
    await unitOf(mebibytes(512));
    const [idle] = await idleFunction('worker', mebibytes(256));
    const busy = await busyApp('chat', mebibytes(400));
    await eventually(() => expect(promised(idle)).toBe(256));
    harness.agent.setInUse(busy, mebibytes(100));
    harness.agent.giveBack(idle, 'thaw');
    await eventually(() => expect([granted(idle), granted(busy)]).toEqual([256, 256]));
    await ticks(10);
    expect(granted(idle)).toBe(256);
  });

  test('a division stays as it is while nothing changes that matters', async () => {
    await unitOf(mebibytes(512));
    const [idle] = await idleFunction('worker', mebibytes(256));
    await busyApp('chat', mebibytes(400));
    await eventually(() => expect(granted(idle)).toBe(112));
    await ticks(5);
    const sent = resizes().length;
    for (let wiggle = 0; wiggle < 10; wiggle += 1) {
      harness.agent.setInUse(idle, mebibytes(20 + (wiggle % 3)));
      await ticks(1);
    }
    expect(resizes().length).toBe(sent);
  });

  test('what is in use may move by a little all the time: grants do not follow that', async () => {
    await unitOf(mebibytes(512));
    const [first] = await idleFunction('first', mebibytes(300));
    const [second] = await idleFunction('second', mebibytes(300));
    harness.agent.setInUse(first, mebibytes(290));
    harness.agent.setInUse(second, mebibytes(215));
    await eventually(() => expect([granted(first), granted(second)]).toEqual([290, 222]));
    const sent = resizes().length;
    for (let wiggle = 0; wiggle < 10; wiggle += 1) {
      harness.agent.setInUse(first, mebibytes(288 + (wiggle % 4)));
      await ticks(1);
    }
    expect(resizes().length).toBe(sent);
  });

  test('a tick follows what is demanded more', async () => {
    await unitOf(mebibytes(512));
    const [small] = await idleFunction('small', mebibytes(256));
    const [large] = await idleFunction('large', mebibytes(400));
    await eventually(() => expect([granted(small), granted(large)]).toEqual([256, 256]));
    harness.agent.setInUse(large, mebibytes(250));
    await eventually(() => expect([granted(small), granted(large)]).toEqual([224, 288]));
    expect(promised(small)).toBe(256);
  });

  test('a start that finds no room has others lend first, and begins after that', async () => {
    await unitOf(mebibytes(512));
    const [idle] = await idleFunction('worker', mebibytes(400));
    const workload = await harness.control.deploy(acme, fn('next', { request: { memory: mebibytes(256) } }), {
      mustCreate: true,
    });
    const started = await gateway.acquire(workload);
    expect(granted(started)).toBe(256);
    expect(granted(idle)).toBe(256);
    const order = harness.agent.calls
      .map(({ method }) => method)
      .filter((method) => /resize|start/.test(method));
    expect(order.slice(-2)).toEqual(['resize', 'start']);
    expect(await harness.running()).toContain(idle);
  });

  test('M-E1: where what others lend takes its time to come, as in a virtual machine, nobody is ended for the start meanwhile', async () => {
    await unitOf(mebibytes(512), { reclaimIdleMs: 0 });
    const [idle] = await idleFunction('worker', mebibytes(400));
    const { resize } = harness.agent.handlers;
    const lending = Promise.withResolvers<ResizeRequest>();
    vi.spyOn(harness.agent.handlers, 'resize').mockImplementation(async (request) => {
      if (request.instances.length === 0) return resize(request);
      lending.resolve(request);
      return { tenants: [], instances: [] };
    });
    const workload = await harness.control.deploy(acme, fn('next', { request: { memory: mebibytes(256) } }), {
      mustCreate: true,
    });
    const starting = gateway.acquire(workload);
    const asked = await lending.promise;
    // As long as it takes to look again, and to end what idles if that were what is done.
    const looks = (): number => harness.agent.calls.filter(({ method }) => method === 'measure').length;
    const before = looks();
    await eventually(() => expect(looks()).toBeGreaterThan(before + 5));
    await resize(asked);
    expect(granted(await starting)).toBe(256);
    expect(await harness.running()).toContain(idle);
    expect(granted(idle)).toBe(256);
  });

  test('a start that finds no room waits for it, up to its deadline', async () => {
    await unitOf(mebibytes(512));
    await busyApp('chat', mebibytes(500));
    const workload = await harness.control.deploy(acme, fn('next', { request: { memory: mebibytes(128) } }), {
      mustCreate: true,
    });
    const refused = gateway.acquire(workload, 1, Date.now() + 100);
    await expect(refused).rejects.toMatchObject({ code: 'NoRoom' });
    const waiting = gateway.acquire(workload);
    await ticks(2);
    await harness.control.deleteWorkload(acme, app('chat').name);
    expect(granted(await waiting)).toBe(128);
  });
});
