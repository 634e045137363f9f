// A unit that moves to another machine, as the fleet sees it.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { MockVm } from '../mock/mock-vm-driver.ts';
import { FleetBench } from './testing/bench.ts';

let bench: FleetBench;

beforeEach(() => {
  bench = new FleetBench();
});
afterEach(() => bench.close());

describe('M-C4 M-C6: a unit that moves to another machine', () => {
  const measured = async (id: string) =>
    (await bench.fleet.handlers.measure({})).units.find((unit) => unit.id === id);
  const busy = async (): Promise<MockVm> => {
    await bench.open();
    await bench.start('i-1', 128);
    return bench.vmOf('i-1');
  };

  test('is the same to everybody but for its process, and nothing of it has ended', async () => {
    const vm = await busy();
    const before = await measured(vm.id);
    const report = await bench.fleet.handlers.move({ unit: vm.id });
    expect(report).toMatchObject({ pauseMs: 1, copiedBytes: 2 });
    expect(report.pid).not.toBe(vm.pid);
    expect(await measured(vm.id)).toEqual({ ...before, pid: report.pid });
    expect((await bench.fleet.handlers.list({})).instances[0]?.info).toMatchObject({
      id: 'i-1',
      state: 'idle',
    });
    expect(bench.told('moved')).toHaveLength(1);
    expect(bench.told('lost')).toEqual([]);
    expect(bench.exits()).toEqual([]);
    // What is said in the second is heard.
    bench.vmOf('i-1').mock.exit('i-1' as InstanceId, { reason: 'it is over' });
    await expect.poll(() => bench.exits()).toHaveLength(1);
  });

  test('is asked nothing meanwhile, and everything afterwards', async () => {
    const vm = await busy();
    const { promise, resolve } = Promise.withResolvers<void>();
    bench.driver.moving = promise;
    const moving = bench.fleet.handlers.move({ unit: vm.id });
    await expect.poll(async () => (await measured(vm.id))?.state).toBe('bound');
    const asked = vm.mock.calls.length;
    const resizing = bench.resize('i-1', 256);
    const freezing = bench.fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    await new Promise((wait) => setTimeout(wait, 50));
    expect(vm.mock.calls).toHaveLength(asked);
    resolve();
    await Promise.all([moving, resizing, freezing]);
    expect((await bench.fleet.handlers.list({})).instances[0]?.info).toMatchObject({
      state: 'frozen',
      grant: { memory: 256 * mib },
    });
  });

  test('goes on where it is when it can not: without room for both, without a second, on disk', async () => {
    const vm = await busy();
    const refused = (code: string) =>
      expect(bench.fleet.handlers.move({ unit: vm.id })).rejects.toThrow(expect.objectContaining({ code }));
    bench.hostAvailableBytes = 0;
    await refused('NoRoom');
    bench.hostAvailableBytes = 64 * gib;
    bench.driver.failure = new BellowsError('StartFailed', 'No second machine.');
    await refused('StartFailed');
    bench.driver.failure = undefined;
    expect(await measured(vm.id)).toMatchObject({ state: 'bound', pid: vm.pid });
    await bench.resize('i-1', 256);
    await bench.fleet.handlers.hibernate({ unit: vm.id, why: 'it was asked to' });
    await refused('Conflict');
    expect(vm.resting).toBe(true);
    expect(bench.exits()).toEqual([]);
    expect(bench.told('moved')).toEqual([]);
  });
});
