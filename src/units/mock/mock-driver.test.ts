import { beforeEach, describe, expect, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId, UnitId, WorkloadKey } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import { unitDriverContract } from '../contract.ts';
import type { Unit, UnitEvent } from '../port.ts';
import { MockDriver, type MockUnit } from './mock-driver.ts';

const size = { memory: 8 * gib, cpu: 4_000, storage: 100 * gib, bandwidth: 1e9 } as Resources;
const unitId = 'mock-1' as UnitId;
const id = 'i-1' as InstanceId;
const acme = { tenant: 'acme' as TenantId, uid: 1, memoryBytes: null, cpuMillicores: null, weight: 1 };
const grantOf = (memoryMib: number): Resources => ({ ...size, memory: memoryMib * mib }) as Resources;
const spec: InstanceSpec = {
  id,
  tenant: acme.tenant,
  uid: 1,
  workload: 'acme/chat' as WorkloadKey,
  generation: 'g1',
  kind: 'app',
  runtime: 'nodejs26.x',
  codeDirectory: '/code',
  handler: null,
  start: 'node server.js',
  timeoutMs: 1_000,
  env: {},
  network: 'none',
  grant: grantOf(256),
  function: null,
};

unitDriverContract('mock', async () => {
  const driver = new MockDriver();
  return {
    driver,
    id: unitId,
    size,
    emitPoolChanged: (ready) => driver.unit(unitId).agent.emit({ event: 'poolChanged', data: { ready } }),
    disconnect: async () => driver.unit(unitId).disconnect(),
    reconnect: async () => driver.unit(unitId).reconnect(),
    remove: async () => undefined,
  };
});

describe('mock agent', () => {
  let unit: Unit;
  let mock: MockUnit;
  let events: UnitEvent[];

  beforeEach(async () => {
    const driver = new MockDriver();
    unit = await driver.provision(unitId, size);
    mock = driver.unit(unitId);
    events = [];
    unit.subscribe((event) => events.push(event));
    await unit.agent.call('ensureTenant', acme);
    await unit.agent.call('start', spec);
  });

  const names = (): unknown[] =>
    events.map((event) => (event.type === 'agent' ? event.event.event : event.type));

  test('it keeps instances and grants', async () => {
    const result = await unit.agent.call('resize', {
      tenants: [],
      instances: [{ id, grant: grantOf(512) }],
      waitMs: 0,
    });
    expect(result.instances[0]?.changes).toEqual([
      expect.objectContaining({ resource: 'memory', before: 256 * mib, after: 512 * mib, status: 'applied' }),
    ]);
    const { instances } = await unit.agent.call('list', {});
    expect(instances).toEqual([expect.objectContaining({ spec, info: mock.agent.instance(id) })]);
    expect(mock.agent.instance(id).grant).toEqual(grantOf(512));
    await unit.agent.call('stop', { id, graceMs: 0, reason: 'test' });
    expect((await unit.agent.call('list', {})).instances).toEqual([]);
    expect(names()).toEqual(['instance', 'instance', 'exited']);
  });

  test('it defers what is in use, and applies it when it no longer is', async () => {
    mock.agent.setInUse(id, 200 * mib);
    const shrink = {
      tenants: [{ ...acme, memoryBytes: 100 * mib }],
      instances: [{ id, grant: grantOf(128) }],
      waitMs: 0,
    };
    const result = await unit.agent.call('resize', shrink);
    const deferred = { status: 'deferred', reason: expect.stringContaining('200MiB of memory is in use') };
    expect(result.instances[0]?.changes).toEqual([
      expect.objectContaining({ ...deferred, after: 256 * mib, wanted: 128 * mib }),
    ]);
    expect(result.tenants[0]?.changes).toEqual([
      expect.objectContaining({ ...deferred, after: null, wanted: 100 * mib }),
    ]);
    expect(mock.agent.instance(id)).toMatchObject({ grant: grantOf(256), desired: grantOf(128) });
    mock.agent.setInUse(id, 90 * mib);
    expect(mock.agent.instance(id).grant).toEqual(grantOf(128));
    const applied = { status: 'applied', reason: '', after: 100 * mib };
    expect(events.at(-1)).toMatchObject({
      event: { event: 'applied', data: { tenants: [{ changes: [applied] }], instances: [{ instance: id }] } },
    });
  });

  test('it lends what is promised, and gives it back by itself when it is needed', async () => {
    const promised = { memory: grantOf(256).memory };
    const lend = () =>
      unit.agent.call('resize', {
        tenants: [],
        instances: [{ id, grant: grantOf(64), promised }],
        waitMs: 0,
      });
    const lent = { grant: grantOf(64), desired: grantOf(64), promised };
    const back = { grant: grantOf(256), desired: grantOf(256), promised: undefined };
    await lend();
    expect(mock.agent.instance(id)).toMatchObject(lent);
    // One that runs is not thawed.
    await unit.agent.call('thaw', { id });
    expect(mock.agent.instance(id)).toMatchObject(lent);
    mock.agent.setInUse(id, 100 * mib);
    expect(mock.agent.instance(id)).toMatchObject(back);
    await lend();
    expect(mock.agent.instance(id)).toMatchObject({ ...back, desired: grantOf(64) });
    mock.agent.setInUse(id, 30 * mib);
    expect(mock.agent.instance(id)).toMatchObject(lent);
    await unit.agent.call('freeze', { id });
    await unit.agent.call('thaw', { id });
    expect(mock.agent.instance(id)).toMatchObject(back);
    const whys = events.flatMap((event) =>
      event.type === 'agent' && event.event.event === 'givenBack' ? [event.event.data.why] : [],
    );
    expect(whys).toEqual(['strain', 'thaw']);
  });

  test('it does what its script says, once or always', async () => {
    const error = new BellowsError('NoRoom', 'No room.');
    mock.agent.script.next('freeze', { do: 'fail', error });
    await expect(unit.agent.call('freeze', { id })).rejects.toThrow(error);
    await unit.agent.call('freeze', { id });
    expect(mock.agent.instance(id).state).toBe('frozen');
    mock.agent.script.always('trim', { do: 'answer', result: { beforeBytes: 2, afterBytes: 1 } });
    expect(await unit.agent.call('trim', { id })).toEqual({ beforeBytes: 2, afterBytes: 1 });
    mock.agent.script.always('trim', null);
    expect(await unit.agent.call('trim', { id })).not.toEqual({ beforeBytes: 2, afterBytes: 1 });
    mock.agent.script.next('thaw', { do: 'hang' });
    await expect(unit.agent.call('thaw', { id }, { timeoutMs: 10 })).rejects.toThrow(/within 10 ms/);
    expect(mock.agent.calls.filter(({ method }) => method === 'trim')).toHaveLength(2);
  });

  test('a delayed answer comes after a quick one', async () => {
    mock.agent.script.next('measure', { do: 'delay', ms: 20 });
    const order: string[] = [];
    await Promise.all([
      unit.agent.call('measure', {}).then(() => order.push('delayed')),
      unit.agent.call('list', {}).then(() => order.push('quick')),
    ]);
    expect(order).toEqual(['quick', 'delayed']);
  });

  test('a call under way fails when the link is cut, though the agent did the work', async () => {
    mock.agent.script.next('freeze', { do: 'delay', ms: 10 });
    const freezing = unit.agent.call('freeze', { id });
    mock.disconnect();
    await expect(freezing).rejects.toThrow(expect.objectContaining({ code: 'Unavailable' }));
    await expect.poll(() => mock.agent.instance(id).state).toBe('frozen');
  });

  test('what would not pass the protocol fails', async () => {
    await expect(unit.agent.call('setPool', { size: -1 })).rejects.toThrow(/size/);
  });
});
