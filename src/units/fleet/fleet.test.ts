// The fleet over machines that are not there: what it starts, in what, and what it leaves behind.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { MockVm } from '../mock/mock-vm-driver.ts';
import { acme, FleetBench, rival } from './testing/bench.ts';

let bench: FleetBench;

beforeEach(() => {
  bench = new FleetBench();
});
afterEach(() => bench.close());

describe('any size from one pool', () => {
  test.each([128, 200, 512, 1024])(
    'M-A2, M-A6: %d MiB: the rest is claimed before user code runs',
    async (asked) => {
      await bench.open();
      const { endpoint, instance } = await bench.start('i-1', asked);
      const vm = bench.vmOf('i-1');
      expect(vm.claimedBytes).toBe(gib - asked * mib);
      expect(instance.unit).toBe(vm.id);
      expect(endpoint.door).toEqual(vm.door);
      const done = bench.journalOf(vm);
      expect(done.indexOf(`usable ${asked * mib}`)).toBeLessThan(done.indexOf('start'));
      expect(done.findLastIndex((entry) => entry.startsWith('claimed'))).toBeLessThan(done.indexOf('start'));
    },
  );

  test('a start takes nothing from itself: what has to be freed first is claimed when it serves', async () => {
    await bench.open({}, 0);
    const starting = bench.start('i-1', 128);
    await expect.poll(() => bench.driver.all.length).toBe(1);
    const [vm] = bench.driver.all;
    if (vm === undefined) throw new Error('no unit');
    vm.freeBytes = 300 * mib;
    await starting;
    const done = bench.journalOf(vm);
    expect(done.slice(0, done.indexOf('start'))).not.toContain(`claimed ${896 * mib}`);
    await expect.poll(() => vm.claimedBytes).toBe(896 * mib);
  });

  test('more than a unit has is refused, with both amounts', async () => {
    await bench.open();
    await expect(bench.start('i-1', 2048)).rejects.toThrow(/2\.0 GiB.*1\.0 GiB/);
  });

  test('each instance has a unit of its own, which goes with it; another takes its place', async () => {
    await bench.open();
    await Promise.all([bench.start('i-1', 128), bench.start('i-2', 128, rival)]);
    const [first, second] = [bench.vmOf('i-1'), bench.vmOf('i-2')];
    expect(first.id).not.toBe(second.id);
    await bench.fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    expect(bench.driver.vms.has(first.id)).toBe(false);
    expect(bench.exits()).toEqual([expect.objectContaining({ id: 'i-1', reason: 'test' })]);
    await expect.poll(() => bench.driver.vms.size).toBe(2);
    expect(bench.driver.vms.has(second.id)).toBe(true);
  });

  test('C1: tenants share a unit where the operator allows it, and code is sent into it once', async () => {
    await bench.open({ sharing: 'all' });
    await bench.start('i-1', 128);
    await bench.start('i-2', 200);
    await bench.start('i-3', 256, rival);
    const vm = bench.vmOf('i-1');
    expect(bench.vmOf('i-3').id).toBe(vm.id);
    expect(vm.claimedBytes).toBe(gib - (128 + 200 + 256) * mib);
    expect(bench.sent).toHaveLength(2);
    const { units } = await bench.fleet.handlers.measure({});
    expect(units.find(({ id }) => id === vm.id)).toMatchObject({ tenant: null, state: 'bound' });
  });
});

describe('a guest is slow, and is not asked for more than is needed', () => {
  const asked = (vm: MockVm, what: string): number =>
    bench.journalOf(vm).filter((entry) => entry === what).length;

  test('of starts that come at once two are under way, and all come to serve', async () => {
    await bench.open({}, 5);
    await expect.poll(() => bench.driver.all.length).toBe(5);
    for (const { mock } of bench.driver.all) mock.script.always('start', { do: 'delay', ms: 30 });
    const all = Promise.all(['i-1', 'i-2', 'i-3', 'i-4', 'i-5'].map((id) => bench.start(id, 128)));
    const begun = (): number => bench.driver.all.filter((vm) => asked(vm, 'start') > 0).length;
    await expect.poll(begun, { interval: 2 }).toBe(2);
    await all;
    expect(begun()).toBe(5);
    expect((await bench.fleet.handlers.list({})).instances).toHaveLength(5);
  });

  test('a unit that stands still is measured once, and again when it runs', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    const vm = bench.vmOf('i-1');
    const measured = async (): Promise<number> => {
      bench.driver.journal.length = 0;
      for (let round = 0; round < 3; round += 1)
        expect((await bench.fleet.handlers.measure({})).instances).toHaveLength(1);
      return asked(vm, 'measure');
    };
    expect(await measured()).toBe(3);
    await bench.fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    expect(await measured()).toBe(1);
    expect(await measured()).toBe(0);
    await bench.fleet.handlers.thaw({ id: 'i-1' as InstanceId });
    expect(await measured()).toBe(3);
  });

  test('a guest that has not answered yet is not asked a second time', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    const vm = bench.vmOf('i-1');
    await bench.fleet.handlers.measure({});
    bench.driver.journal.length = 0;
    vm.mock.script.next('measure', { do: 'delay', ms: 50 });
    const slow = bench.fleet.handlers.measure({});
    expect((await bench.fleet.handlers.measure({})).instances).toHaveLength(1);
    expect((await slow).instances).toHaveLength(1);
    expect(asked(vm, 'measure')).toBe(1);
  });

  test('what holds of a tenant is told once, and again when it changed or a resize told otherwise', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    const vm = bench.vmOf('i-1');
    bench.driver.journal.length = 0;
    await bench.fleet.handlers.ensureTenant(acme);
    expect(asked(vm, 'ensureTenant')).toBe(0);
    await bench.fleet.handlers.ensureTenant({ ...acme, weight: 2 });
    await bench.fleet.handlers.ensureTenant({ ...acme, weight: 2 });
    expect(asked(vm, 'ensureTenant')).toBe(1);
    await bench.fleet.handlers.resize({ tenants: [acme], instances: [], waitMs: 0 });
    await bench.fleet.handlers.ensureTenant({ ...acme, weight: 2 });
    expect(asked(vm, 'ensureTenant')).toBe(2);
  });
});

describe('a fleet that comes back', () => {
  test('finds its instances where they are, and gives no tenant’s unit to another', async () => {
    await bench.open();
    const { endpoint } = await bench.start('i-1', 256);
    const vm = bench.vmOf('i-1');
    const left = [...bench.driver.vms];
    await bench.open();
    expect(left.map(([id]) => id)).toContain(vm.id);
    const { instances } = await bench.fleet.handlers.list({});
    expect(instances).toEqual([expect.objectContaining({ endpoint, spec: bench.specOf('i-1', 256) })]);
    await bench.start('i-2', 128, rival);
    expect(bench.vmOf('i-2').id).not.toBe(vm.id);
  });

  test('a unit whose tenant has nothing in it any more is destroyed, not passed on', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    const vm = bench.vmOf('i-1');
    const before = bench.fleet;
    vm.disconnect();
    vm.mock.exit('i-1' as InstanceId, { reason: 'while nobody looked' });
    vm.connected = true;
    await bench.open();
    expect(bench.driver.vms.has(vm.id)).toBe(false);
    await before.close(0);
  });
});

test('what an instance printed outlives its unit', async () => {
  await bench.open();
  await bench.start('i-1', 128);
  bench.vmOf('i-1').lines.push('one', 'two');
  await bench.fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
  const workload = 'acme/chat' as WorkloadKey;
  const { entries } = await bench.fleet.handlers.readLogs({ workload, cursor: null, limit: 10, waitMs: 0 });
  expect(entries.map(({ line }) => line)).toEqual(['one', 'two']);
});

test('what becomes of units is told: made, claimed, ended with the reason', async () => {
  await bench.open();
  await bench.start('i-1', 128);
  const { id } = bench.vmOf('i-1');
  await expect.poll(() => bench.told('claimed').length).toBeGreaterThan(0);
  await bench.fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
  const of = bench.events.flatMap((event) =>
    event.event === 'unit' && event.data.unit === id ? [event.data] : [],
  );
  expect(of.map(({ happened }) => happened.what)).toEqual(['provisioned', 'claimed', 'stopped']);
  expect(of.map(({ tenant }) => tenant)).toEqual([null, expect.anything(), 'acme']);
});

test('a shutdown leaves no unit', async () => {
  await bench.open({}, 2);
  await bench.start('i-1', 128);
  await bench.fleet.handlers.shutdown({ graceMs: 0 });
  expect(bench.told('stopped').map(({ happened }) => happened)).toContainEqual({
    what: 'stopped',
    reason: 'the agent is stopping',
  });
  expect(bench.driver.vms.size).toBe(0);
  await expect(bench.start('i-2', 128)).rejects.toThrow(/stopping/);
});

test('a shutdown does not wait beyond the grace for a guest that says nothing: its machine is ended', async () => {
  const never = { hungAfterMs: 600_000, stopAnswerMs: 600_000, stopSlowMs: 600_000 };
  await bench.open({}, 1, { ...never, closeAnswerMs: 50 });
  await bench.start('i-1', 128);
  bench.vmOf('i-1').hung = true;
  await bench.fleet.handlers.shutdown({ graceMs: 50 });
  expect(bench.driver.vms.size).toBe(0);
});
