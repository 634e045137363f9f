// What is claimed of one machine when nobody resizes: of idle instances, on request, and back under pressure or before a thaw.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import { acme, FleetBench } from './testing/bench.ts';

let bench: FleetBench;

beforeEach(() => {
  bench = new FleetBench();
});
afterEach(() => bench.close());

describe('B4: given back before it is needed', () => {
  test('a unit whose instance is frozen is claimed down, and has everything again before it is thawed', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    await bench.fleet.handlers.measure({});
    await bench.fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    await expect.poll(() => vm.claimedBytes).toBeGreaterThan(900 * mib);
    bench.driver.journal.length = 0;
    await bench.fleet.handlers.thaw({ id: 'i-1' as InstanceId });
    const done = bench.journalOf(vm);
    expect(done.indexOf(`claimed ${512 * mib}`)).toBeLessThan(done.indexOf('thaw'));
    expect(vm.claimedBytes).toBe(512 * mib);
  });

  test('under pressure everything goes back at once, and is claimed again when it is calm', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    const vm = bench.vmOf('i-1');
    bench.driver.journal.length = 0;
    vm.emitGuest({ event: 'pressure', data: { availableBytes: 1, stalledMicros: 1, why: 'test' } });
    // Whoever looks now and then may miss the moment in which nothing is claimed.
    await expect.poll(() => bench.journalOf(vm)).toEqual(['claimed 0', `claimed ${768 * mib}`]);
  });
});

describe('B6: on request, also of what runs', () => {
  const trim = async (id: string) =>
    (await bench.fleet.handlers.trim({ id: id as InstanceId })).unit?.claimedBytes;

  test('what nothing inside has is claimed, and says so; a grant of more gives it back first', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
    vm.freeBytes = 364 * mib;
    expect(await trim('i-1')).toBe(300 * mib);
    expect(vm.claimedBytes).toBe(812 * mib);
    expect(bench.told('claimed').findLast(({ unit }) => unit === vm.id)).toMatchObject({
      happened: { why: expect.stringMatching(/asked for/) },
    });
    // What is settled meanwhile leaves it claimed.
    await bench.fleet.handlers.ensureTenant({ ...acme, weight: 2 });
    await bench.resize('i-1', 512);
    expect(vm.claimedBytes).toBe(812 * mib);
    bench.driver.journal.length = 0;
    await bench.resize('i-1', 600);
    const done = bench.journalOf(vm);
    expect(done.indexOf(`claimed ${424 * mib}`)).toBeLessThan(done.indexOf('resize'));
    expect(vm.claimedBytes).toBe(424 * mib);
  });

  test('a program that is too slow to collect its garbage does not keep what is free beside it', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
    vm.freeBytes = 364 * mib;
    vm.mock.script.next('trim', { do: 'fail', error: new BellowsError('Unavailable', 'No answer.') });
    expect(await trim('i-1')).toBe(300 * mib);
  });

  test('it goes back when memory gets short inside, and is not claimed again by itself', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    vm.freeBytes = 364 * mib;
    await trim('i-1');
    vm.emitGuest({ event: 'pressure', data: { availableBytes: 1, stalledMicros: 1, why: 'test' } });
    await expect.poll(() => vm.claimedBytes).toBe(0);
    expect(await trim('i-1')).toBe(0);
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
  });

  test('it goes back before a thaw', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    await bench.fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    vm.freeBytes = 364 * mib;
    await trim('i-1');
    expect(vm.claimedBytes).toBeGreaterThan(800 * mib);
    bench.driver.journal.length = 0;
    await bench.fleet.handlers.thaw({ id: 'i-1' as InstanceId });
    expect(bench.journalOf(vm).indexOf(`claimed ${512 * mib}`)).toBeLessThan(
      bench.journalOf(vm).indexOf('thaw'),
    );
  });
});
