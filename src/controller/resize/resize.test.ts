// Limits and requests that change while instances run: applied, deferred, infeasible, planned, and remembered.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import type { BytesPerSecond, Millicores } from '../../base/quantity.ts';
import type { Workload } from '../../model/workload.ts';
import { acme, app, eventually, Harness, mebibytes } from '../testing/harness.ts';

const now = { plan: false, waitMs: 0 } as const;
const planOnly = { plan: true, waitMs: 0 } as const;
let harness: Harness;
let chat: Workload;
let id: InstanceId;

beforeEach(async () => {
  harness = await Harness.start();
  chat = await harness.control.deploy(acme, app('chat', { request: { memory: mebibytes(256) } }), {
    mustCreate: true,
  });
  const [first] = await harness.running();
  id = first!;
  harness.agent.setConnections(id, { open: 7, closedByClient: 0, closedByServer: 0 });
});

afterEach(() => harness.close());

const grantedMemory = (): number => harness.agent.instance(id).grant.memory;

describe('M-A3: a running instance changes its size', () => {
  test('up and down, with before and after, connections kept, and without a restart', async () => {
    const { pid } = harness.agent.instance(id);
    for (const memory of [mebibytes(512), mebibytes(128), mebibytes(300)]) {
      const before = grantedMemory();
      const transaction = await harness.control.resizeWorkload(acme, chat.name, { memory }, now);
      expect(transaction).toMatchObject({
        status: 'applied',
        planned: false,
        reason: '',
        connections: { open: 7, kept: 7, dropped: 0 },
      });
      expect(transaction.instances).toMatchObject([
        {
          instance: id,
          changes: [{ resource: 'memory', before, after: memory, wanted: memory, status: 'applied' }],
        },
      ]);
      expect(grantedMemory()).toBe(memory);
    }
    expect(harness.agent.instance(id).pid).toBe(pid);
    expect(harness.starts).toBe(1);
    expect(await harness.events('workload.resized')).toHaveLength(3);
  });

  test('a plan says the same and does nothing', async () => {
    const transaction = await harness.control.resizeWorkload(
      acme,
      chat.name,
      { memory: mebibytes(512) },
      planOnly,
    );
    expect(transaction).toMatchObject({ status: 'applied', planned: true });
    expect(transaction.instances[0]?.changes[0]).toMatchObject({
      before: mebibytes(256),
      after: mebibytes(512),
    });
    expect(grantedMemory()).toBe(mebibytes(256));
    expect(harness.control.getWorkload(acme, chat.name).request.memory).toBe(mebibytes(256));
    expect(
      harness.agent.calls.filter(
        ({ method, params }) =>
          method === 'resize' && (params as { instances: unknown[] }).instances.length > 0,
      ),
    ).toEqual([]);
  });

  test('below what is in use it is deferred, and applied by itself when that has fallen', async () => {
    harness.agent.setInUse(id, mebibytes(200));
    const transaction = await harness.control.resizeWorkload(
      acme,
      chat.name,
      { memory: mebibytes(128) },
      now,
    );
    expect(transaction.status).toBe('deferred');
    expect(transaction.instances[0]?.changes[0]).toMatchObject({
      before: mebibytes(256),
      after: mebibytes(256),
      wanted: mebibytes(128),
      status: 'deferred',
    });
    expect(grantedMemory()).toBe(mebibytes(256));
    harness.agent.setInUse(id, mebibytes(100));
    expect(grantedMemory()).toBe(mebibytes(128));
    const [applied] = await harness.events('change.applied');
    expect(applied).toMatchObject({ instance: id, workload: chat.key });
  });

  test('asked again for what waits, it says again that it waits, and nobody else hears of it', async () => {
    const other = await harness.control.deploy(acme, app('other', { request: { memory: mebibytes(256) } }), {
      mustCreate: true,
    });
    harness.agent.setInUse(id, mebibytes(200));
    for (let round = 0; round < 2; round += 1) {
      const again = await harness.control.resizeWorkload(acme, chat.name, { memory: mebibytes(128) }, now);
      expect(again.status).toBe('deferred');
      expect(again.instances[0]?.changes[0]).toMatchObject({ after: mebibytes(256), status: 'deferred' });
    }
    const larger = { memory: mebibytes(300) };
    for (const options of [planOnly, now]) {
      const transaction = await harness.control.resizeWorkload(acme, other.name, larger, options);
      expect(transaction.status).toBe('applied');
      expect(transaction.instances.map(({ workload }) => workload)).toEqual([other.key]);
    }
    expect(grantedMemory()).toBe(mebibytes(256));
  });

  test('a plan of it foresees the deferral', async () => {
    harness.agent.setInUse(id, mebibytes(200));
    // From when it was measured.
    await eventually(async () => {
      const transaction = await harness.control.resizeWorkload(
        acme,
        chat.name,
        { memory: mebibytes(128) },
        planOnly,
      );
      expect(transaction).toMatchObject({ planned: true, status: 'deferred' });
    });
  });

  test('a later request supersedes a deferred one', async () => {
    harness.agent.setInUse(id, mebibytes(200));
    await harness.control.resizeWorkload(acme, chat.name, { memory: mebibytes(128) }, now);
    const transaction = await harness.control.resizeWorkload(
      acme,
      chat.name,
      { memory: mebibytes(300) },
      now,
    );
    expect(transaction.status).toBe('applied');
    harness.agent.setInUse(id, mebibytes(100));
    expect(grantedMemory()).toBe(mebibytes(300));
  });

  test('what can never be is infeasible, with the reason, and changes nothing', async () => {
    for (const change of [
      { memory: mebibytes(1) },
      { memory: mebibytes(1_000_000) },
      { cpu: 64_000 as Millicores },
    ]) {
      const transaction = await harness.control.resizeWorkload(acme, chat.name, change, now);
      expect(transaction.status).toBe('infeasible');
      expect(transaction.reason).not.toBe('');
    }
    expect(harness.control.getWorkload(acme, chat.name).request).toEqual(chat.request);
    expect(grantedMemory()).toBe(mebibytes(256));
  });

  test('M-A5: all four resources of what runs change in one transaction, and every gateway knows before the answer', async () => {
    const change = {
      memory: mebibytes(300),
      cpu: 500 as Millicores,
      storage: mebibytes(1024),
      bandwidth: 10_000_000 as BytesPerSecond,
    };
    const gateway = await harness.gateway();
    const planned = await harness.control.resizeWorkload(acme, chat.name, change, planOnly);
    const resized = await harness.control.resizeWorkload(acme, chat.name, change, now);
    for (const { status, instances } of [planned, resized]) {
      expect(status).toBe('applied');
      const changes = Object.fromEntries(instances[0]!.changes.map((part) => [part.resource, part.after]));
      expect(changes).toEqual(change);
    }
    expect(harness.agent.instance(id).grant).toEqual(change);
    const told = gateway.changes.findLast((route) => route.change === 'instance');
    expect(told).toMatchObject({ instance: { id, grant: change } });
    gateway.client.close();
  });

  test("M-A5: a tenant's storage and bandwidth are divided among what it runs", async () => {
    const [storage, bandwidth] = [mebibytes(100), 1_000_000 as BytesPerSecond];
    await harness.control.setLimits(acme, { storage, bandwidth }, now);
    expect(harness.agent.instance(id).grant).toMatchObject({ storage, bandwidth });
    await harness.control.setLimits(acme, { storage: null, bandwidth: null }, now);
    const { storage: wanted, bandwidth: asked } = chat.request;
    expect(harness.agent.instance(id).grant).toMatchObject({ storage: wanted, bandwidth: asked });
  });

  test('a redeployment that only asks for another size resizes what runs', async () => {
    const request = { memory: mebibytes(192) };
    await harness.control.deploy(acme, app('chat', { request }), { mustCreate: false });
    await eventually(() => expect(grantedMemory()).toBe(mebibytes(192)));
    expect(await harness.running()).toEqual([id]);
  });

  test('the wanted size outlives a restart of the controller', async () => {
    await harness.control.resizeWorkload(acme, chat.name, { memory: mebibytes(128) }, now);
    await harness.restart();
    expect(harness.control.getWorkload(acme, chat.name).request.memory).toBe(mebibytes(128));
    expect(grantedMemory()).toBe(mebibytes(128));
  });

  test('a deferred size is asked for again by the next controller', async () => {
    harness.agent.setInUse(id, mebibytes(200));
    await harness.control.resizeWorkload(acme, chat.name, { memory: mebibytes(128) }, now);
    await harness.restart();
    harness.agent.setInUse(id, mebibytes(100));
    expect(grantedMemory()).toBe(mebibytes(128));
  });

  test("an app's number of instances follows its scale", async () => {
    const transaction = await harness.control.resizeWorkload(
      acme,
      chat.name,
      { scale: 3 },
      { plan: false, waitMs: 5_000 },
    );
    expect(transaction.status).toBe('applied');
    expect(await harness.running()).toHaveLength(3);
    await harness.control.resizeWorkload(acme, chat.name, { scale: 1 }, { plan: false, waitMs: 5_000 });
    await eventually(async () => expect(await harness.running()).toEqual([id]));
  });
});

describe("M-C3: a tenant's limit changes while its instances run", () => {
  test('a limit below what they were granted scales them by fair share; raising it gives it back', async () => {
    await harness.control.deploy(acme, app('second', { request: { memory: mebibytes(256) } }), {
      mustCreate: true,
    });
    const ids = await harness.running();
    const memory = (): number[] => ids.map((one) => harness.agent.instance(one).grant.memory);
    const down = await harness.control.setLimits(acme, { memory: mebibytes(300) }, now);
    expect(down.status).toBe('applied');
    expect(down.tenants).toMatchObject([
      { tenant: 'acme', changes: [{ resource: 'memory', before: null, after: mebibytes(300) }] },
    ]);
    expect(memory()).toEqual([mebibytes(150), mebibytes(150)]);
    const up = await harness.control.setLimits(acme, { memory: null }, now);
    expect(up.status).toBe('applied');
    expect(memory()).toEqual([mebibytes(256), mebibytes(256)]);
    expect(harness.starts).toBe(2);
  });

  test('when an instance ends, its share goes to the others', async () => {
    const second = await harness.control.deploy(
      acme,
      app('second', { request: { memory: mebibytes(256) } }),
      { mustCreate: true },
    );
    await harness.control.setLimits(acme, { memory: mebibytes(300) }, now);
    expect(grantedMemory()).toBe(mebibytes(150));
    await harness.control.deleteWorkload(acme, second.name);
    await eventually(() => expect(grantedMemory()).toBe(mebibytes(256)));
  });

  test('a limit that does not fit yet is deferred and not lost', async () => {
    harness.agent.setInUse(id, mebibytes(200));
    const transaction = await harness.control.setLimits(acme, { memory: mebibytes(128) }, now);
    expect(transaction.status).toBe('deferred');
    expect(harness.control.getTenant(acme).limits.memory).toBe(mebibytes(128));
    harness.agent.setInUse(id, mebibytes(100));
    expect(grantedMemory()).toBe(mebibytes(128));
    const again = await harness.control.setLimits(acme, { memory: mebibytes(128) }, now);
    expect(again.status).toBe('applied');
    const measured = await harness.agent.handlers.measure({});
    expect(measured.tenants.find(({ tenant }) => tenant === acme)?.memoryLimitBytes).toBe(mebibytes(128));
  });

  test('a limit below what instances need at the least is infeasible', async () => {
    const transaction = await harness.control.setLimits(acme, { memory: mebibytes(8) }, now);
    expect(transaction.status).toBe('infeasible');
    expect(harness.control.getTenant(acme).limits.memory).toBeNull();
  });

  test('limits on connections, concurrency and requests reach gateways at once', async () => {
    const gateway = await harness.gateway();
    const lowered = await harness.control.setLimits(
      acme,
      { connections: 5, concurrency: 2, requests: 50 },
      now,
    );
    const told = (connectionLimit: number, concurrencyLimit: number) =>
      expect.objectContaining({
        change: 'tenant',
        tenant: expect.objectContaining({ connectionLimit, concurrencyLimit, requestLimit: 50 }),
      });
    expect(gateway.changes).toContainEqual(told(5, 2));
    expect(lowered).toMatchObject({
      status: 'applied',
      tenants: [
        {
          tenant: acme,
          changes: [
            { resource: 'connections', before: null, after: 5, wanted: 5, status: 'applied' },
            { resource: 'concurrency', before: null, after: 2, wanted: 2, status: 'applied' },
            { resource: 'requests', before: null, after: 50, wanted: 50, status: 'applied' },
          ],
        },
      ],
    });
    const raised = await harness.control.setLimits(acme, { connections: 9, concurrency: 2 }, now);
    expect(gateway.changes).toContainEqual(told(9, 2));
    expect(raised.tenants[0]?.changes).toMatchObject([{ resource: 'connections', before: 5, after: 9 }]);
    const lifted = { connections: null, memory: mebibytes(512) };
    const both = await harness.control.setLimits(acme, lifted, now);
    expect(both.tenants).toHaveLength(1);
    expect(both.tenants[0]?.changes.map(({ resource, after }) => [resource, after])).toEqual([
      ['memory', mebibytes(512)],
      ['connections', null],
    ]);
    gateway.client.close();
  });

  test('limits that gateways count are planned without being changed, and stay with what is infeasible', async () => {
    const planned = await harness.control.setLimits(acme, { connections: 5 }, { plan: true, waitMs: 0 });
    expect(planned.tenants[0]?.changes).toMatchObject([{ resource: 'connections', wanted: 5 }]);
    const refused = await harness.control.setLimits(acme, { connections: 5, memory: mebibytes(8) }, now);
    expect(refused.status).toBe('infeasible');
    expect(refused.tenants.flatMap(({ changes }) => changes.map(({ resource }) => resource))).not.toContain(
      'connections',
    );
    expect(harness.control.getTenant(acme).limits.connections).toBeNull();
  });

  test('random changes end where the last one says, and sums stay within the limit', async () => {
    await harness.control.resizeWorkload(acme, chat.name, { scale: 3 }, { plan: false, waitMs: 5_000 });
    const changes = Array.from({ length: 60 }, (_, step) =>
      step % 2 === 0
        ? harness.control.setLimits(acme, { memory: mebibytes(200 + ((step * 37) % 400)) }, now)
        : harness.control.resizeWorkload(
            acme,
            chat.name,
            { memory: mebibytes(64 + ((step * 53) % 130)) },
            now,
          ),
    );
    await Promise.allSettled(changes);
    const limit = harness.control.getTenant(acme).limits.memory ?? 0;
    await eventually(async () => {
      const views = await harness.control.instances();
      expect(views).toHaveLength(3);
      expect(views.reduce((sum, view) => sum + view.grant.memory, 0)).toBeLessThanOrEqual(limit);
    });
    expect(harness.starts).toBe(3);
  });
});
