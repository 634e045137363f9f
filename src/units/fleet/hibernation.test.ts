// A unit on disk, as the fleet sees it: who leaves it alone and who wakes it.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { MockVm } from '../mock/mock-vm-driver.ts';
import { acme, FleetBench } from './testing/bench.ts';

let bench: FleetBench;

beforeEach(() => {
  bench = new FleetBench();
});
afterEach(() => bench.close());

/** Of hibernations. */
const why = 'it was asked to';

describe('M-C4: a hibernated unit', () => {
  const hibernate = async (): Promise<MockVm> => {
    await bench.open();
    await bench.start('i-1', 128);
    const vm = bench.vmOf('i-1');
    await bench.fleet.handlers.hibernate({ unit: vm.id, why });
    return vm;
  };
  const listed = async () => (await bench.fleet.handlers.list({})).instances[0]?.info;
  const measured = async (vm: MockVm) =>
    (await bench.fleet.handlers.measure({})).units.find(({ id }) => id === vm.id);

  test('has no process and holds no memory, its instance is shown so, and nothing of it has ended', async () => {
    const vm = await hibernate();
    expect(vm.resting).toBe(true);
    expect(await listed()).toMatchObject({ state: 'hibernated', grant: { memory: 0, cpu: 0 } });
    expect((await listed())?.desired.memory).toBe(128 * mib);
    expect(await measured(vm)).toMatchObject({
      state: 'hibernated',
      pid: null,
      hostPrivateBytes: 0,
      claimed: { memory: gib },
    });
    expect(bench.exits()).toEqual([]);
    expect(bench.told('lost')).toEqual([]);
    expect(bench.told('hibernated')).toHaveLength(1);
  });

  test('is left alone by all that happens by itself: pings, logs, measurements, claims, freezing, limits of its tenant', async () => {
    const vm = await hibernate();
    await bench.fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    await bench.fleet.handlers.trim({ id: 'i-1' as InstanceId });
    await bench.fleet.handlers.ensureTenant({ ...acme, memoryBytes: gib });
    await bench.fleet.handlers.resize({ tenants: [{ ...acme, memoryBytes: gib }], instances: [], waitMs: 0 });
    for (let times = 0; times < 5; times += 1) {
      await bench.fleet.handlers.measure({});
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(vm.resting).toBe(true);
    expect(bench.journalOf(vm).at(-1)).toBe('at rest');
  });

  test('is not woken by gateways that tell a new agent of their connections: it hears the last of each when it wakes', async () => {
    const vm = await hibernate();
    const tunnels = vi.spyOn(vm.mock.handlers, 'tunnels');
    const counts = { open: 3, closedByClient: 0, closedByServer: 0 };
    const id = 'i-1' as InstanceId;
    for (const [gateway, open] of [
      [7, 3],
      [8, 1],
      [7, 2],
    ] as const)
      await bench.fleet.handlers.tunnels({ id, gateway, beside: null, counts: { ...counts, open } });
    expect(vm.resting).toBe(true);
    await bench.fleet.handlers.wake({ unit: vm.id });
    expect(tunnels.mock.calls.map(([told]) => [told.gateway, told.counts.open])).toEqual([
      [8, 1],
      [7, 2],
    ]);
    await bench.fleet.handlers.tunnels({ id, gateway: 7, beside: null, counts });
    expect(tunnels).toHaveBeenCalledTimes(3);
  });

  test('wakes when it is asked to, and then knows what its tenant may have now', async () => {
    const vm = await hibernate();
    await bench.fleet.handlers.ensureTenant({ ...acme, memoryBytes: gib });
    await bench.fleet.handlers.wake({ unit: vm.id });
    expect(vm.resting).toBe(false);
    expect(bench.journalOf(vm).slice(bench.journalOf(vm).indexOf('woken'))).toContain('ensureTenant');
    expect(await listed()).toMatchObject({ state: 'idle', grant: { memory: 128 * mib } });
    expect((await measured(vm))?.state).toBe('bound');
    expect(bench.told('woken')).toHaveLength(1);
    await bench.fleet.handlers.wake({ unit: vm.id });
    expect(bench.told('woken')).toHaveLength(1);
  });

  test('wakes when a connection waits for it, when its instance is thawed, and when that is resized', async () => {
    const vm = await hibernate();
    bench.awaited.add(vm.door.host);
    await expect.poll(async () => (await measured(vm))?.state).toBe('bound');
    bench.awaited.clear();
    for (const ask of [
      () => bench.fleet.handlers.thaw({ id: 'i-1' as InstanceId }),
      () => bench.resize('i-1', 256),
    ]) {
      await bench.fleet.handlers.hibernate({ unit: vm.id, why });
      await ask();
      expect((await measured(vm))?.state).toBe('bound');
    }
    expect(bench.told('woken')).toHaveLength(3);
  });

  test('sleeps on where the host has no memory for it, and wakes when there is some and somebody still waits', async () => {
    const vm = await hibernate();
    bench.hostAvailableBytes = 0;
    await expect(bench.fleet.handlers.wake({ unit: vm.id })).rejects.toThrow(
      expect.objectContaining({ code: 'NoRoom' }),
    );
    expect(vm.resting).toBe(true);
    bench.awaited.add(vm.door.host);
    bench.hostAvailableBytes = 64 * gib;
    await expect.poll(async () => (await measured(vm))?.state).toBe('bound');
  });

  test('is lost when it began to run and can not go on: it is told once, its instance ends with it, and nobody wakes it again', async () => {
    const vm = await hibernate();
    bench.driver.lossOnWaking = 'it does not answer';
    await expect(bench.fleet.handlers.thaw({ id: 'i-1' as InstanceId })).rejects.toThrow(
      expect.objectContaining({ code: 'UnitLost' }),
    );
    await expect.poll(() => bench.exits()).toMatchObject([{ id: 'i-1' }]);
    expect(bench.told('lost')).toMatchObject([
      { unit: vm.id, happened: { code: 'UnitLost', instances: ['i-1'] } },
    ]);
    await expect.poll(() => measured(vm)).toBeUndefined();
    bench.awaited.add(vm.door.host);
    expect(bench.journalOf(vm).filter((entry) => entry === 'woken')).toHaveLength(1);
  });

  test('goes with its instance, and with the fleet, without being woken', async () => {
    const vm = await hibernate();
    await bench.fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    expect(bench.driver.vms.has(vm.id)).toBe(false);
    expect(bench.exits()).toEqual([expect.objectContaining({ id: 'i-1', reason: 'test' })]);
    expect(bench.journalOf(vm)).not.toContain('woken');
    await bench.start('i-2', 128);
    const other = bench.vmOf('i-2');
    await bench.fleet.handlers.hibernate({ unit: other.id, why });
    await bench.fleet.close(0);
    expect(bench.driver.vms.size).toBe(0);
    expect(bench.journalOf(other)).not.toContain('woken');
  });

  test('is one that somebody is in, and that could be put there: otherwise it goes on', async () => {
    await bench.open();
    const [warm] = bench.driver.all;
    if (warm === undefined) throw new Error('no unit');
    await expect(bench.fleet.handlers.hibernate({ unit: warm.id, why })).rejects.toThrow(
      expect.objectContaining({ code: 'Conflict' }),
    );
    await bench.start('i-1', 128);
    bench.driver.failure = new BellowsError('NoRoom', 'The disk is full.');
    await expect(bench.fleet.handlers.hibernate({ unit: bench.vmOf('i-1').id, why })).rejects.toThrow(
      /disk is full/,
    );
    bench.driver.failure = undefined;
    expect((await measured(bench.vmOf('i-1')))?.state).toBe('bound');
    await bench.resize('i-1', 256);
    expect(bench.exits()).toEqual([]);
  });

  test('is adopted asleep by the next fleet, which keeps looking for connections that wait, and knows who is in it', async () => {
    const vm = await hibernate();
    const before = (await bench.fleet.handlers.list({})).instances;
    const left = bench.fleet;
    await bench.open({}, 0);
    expect(vm.resting).toBe(true);
    expect((await bench.fleet.handlers.list({})).instances).toEqual(before);
    expect(await measured(vm)).toMatchObject({ state: 'hibernated', tenant: acme.tenant, pid: null });
    expect(bench.journalOf(vm)).not.toContain('woken');
    // It has no room for it, as the one before knew.
    bench.hostAvailableBytes = 0;
    await expect(bench.fleet.handlers.wake({ unit: vm.id })).rejects.toThrow(
      expect.objectContaining({ code: 'NoRoom' }),
    );
    bench.hostAvailableBytes = 64 * gib;
    bench.awaited.add(vm.door.host);
    await expect.poll(async () => (await measured(vm))?.state).toBe('bound');
    expect(await listed()).toMatchObject({ id: 'i-1', state: 'idle', grant: { memory: 128 * mib } });
    await bench.resize('i-1', 256);
    expect(bench.exits()).toEqual([]);
    await left.close(0);
  });

  test('is ended by the next fleet without being woken', async () => {
    const vm = await hibernate();
    const left = bench.fleet;
    await bench.open({}, 0);
    await bench.fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    expect(bench.driver.vms.has(vm.id)).toBe(false);
    expect(bench.exits()).toEqual([expect.objectContaining({ id: 'i-1', reason: 'test' })]);
    expect(bench.journalOf(vm)).not.toContain('woken');
    await left.close(0);
  });

  test('is woken by the next fleet when nobody has written down who is in it', async () => {
    const vm = await hibernate();
    const left = bench.fleet;
    bench.removeRecords();
    await bench.open({}, 0);
    expect(vm.resting).toBe(false);
    expect(await listed()).toMatchObject({ id: 'i-1', state: 'idle' });
    await left.close(0);
  });

  test('stays awake when something came into it since it was quiet', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    const vm = bench.vmOf('i-1');
    vm.carriedPackets = 8;
    await expect(bench.fleet.handlers.hibernate({ unit: vm.id, why, carriedPackets: 7 })).rejects.toThrow(
      expect.objectContaining({ code: 'Conflict' }),
    );
    expect((await measured(vm))?.state).toBe('bound');
    await bench.fleet.handlers.hibernate({ unit: vm.id, why, carriedPackets: 8 });
    expect(vm.resting).toBe(true);
    expect(bench.told('hibernated')).toMatchObject([{ happened: { why } }]);
  });
});
