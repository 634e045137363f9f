// What becomes of instances whose machine is killed, hangs or does not start: each is told once, with the reason.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { FleetBench } from './testing/bench.ts';

let bench: FleetBench;

beforeEach(() => {
  bench = new FleetBench();
});
afterEach(() => bench.close());

describe('faults', () => {
  test('QEMU is killed: its instance is told of with the reason, and another unit takes its place', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    const vm = bench.vmOf('i-1');
    vm.lose('QEMU was ended by SIGKILL');
    await expect
      .poll(() => bench.exits())
      .toEqual([expect.objectContaining({ id: 'i-1', reason: expect.stringMatching(/was lost.*SIGKILL/) })]);
    await expect.poll(() => bench.driver.vms.has(vm.id)).toBe(false);
    expect((await bench.fleet.handlers.list({})).instances).toEqual([]);
    await bench.start('i-2', 128);
  });

  test('a guest that hangs is noticed by its deadline and lost', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    bench.vmOf('i-1').hung = true;
    await expect
      .poll(() => bench.exits())
      .toEqual([
        expect.objectContaining({ id: 'i-1', reason: expect.stringMatching(/did not answer within/) }),
      ]);
    expect(bench.told('lost')).toMatchObject([{ happened: { code: 'GuestHung', instances: ['i-1'] } }]);
  });

  test.each([
    ['used none and asked for none', { cpuTicks: 7, wants: false }, true],
    ['waits for the processor', { cpuTicks: 7, wants: true }, false],
  ])('a guest that is silent while its process %s: hung before the deadline is %s', async (_, seen, hung) => {
    bench.activity = seen;
    await bench.open({}, 1, { hungAfterMs: 60_000, standstillMs: 400 });
    await bench.start('i-1', 128);
    bench.vmOf('i-1').hung = true;
    if (hung)
      await expect
        .poll(() => bench.exits().map(({ reason }) => reason))
        .toEqual([expect.stringMatching(/did not answer and its process stood still/)]);
    else {
      await new Promise((resolve) => setTimeout(resolve, 1_200));
      expect(bench.exits()).toEqual([]);
    }
  });

  test('a guest that answers others is slow, not hung', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    const vm = bench.vmOf('i-1');
    vi.spyOn(vm.guest, 'call').mockImplementation(async (name) => {
      if (name === 'readClock') await new Promise((resolve) => setTimeout(resolve, 60));
      throw new BellowsError('Unavailable', 'No answer to readClock.');
    });
    const talking = setInterval(() => vm.emitGuest({ event: 'poolChanged', data: { ready: 1 } }), 5);
    await new Promise((resolve) => setTimeout(resolve, 400));
    clearInterval(talking);
    expect(bench.exits()).toEqual([]);
    expect(bench.driver.vms.has(vm.id)).toBe(true);
    vi.restoreAllMocks();
  });

  test('an agent that is killed inside and comes back has its instances; one that is gone is told of', async () => {
    await bench.open({ sharing: 'tenant' });
    await bench.start('i-1', 128);
    await bench.start('i-2', 128);
    const vm = bench.vmOf('i-1');
    vm.disconnect();
    vm.mock.exit('i-2' as InstanceId, { reason: 'nobody listens' });
    bench.events.length = 0;
    vm.reconnect();
    await expect
      .poll(async () => (await bench.fleet.handlers.list({})).instances.map(({ info }) => info.id))
      .toEqual(['i-1']);
  });

  test('an agent that does not come back in time is lost with its unit', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    bench.vmOf('i-1').disconnect();
    await expect
      .poll(() => bench.exits())
      .toEqual([expect.objectContaining({ reason: expect.stringMatching(/did not come back/) })]);
  });

  test('with no unit to be had a start waits, and is then told why', async () => {
    bench.driver.failure = new BellowsError('NoRoom', 'The disk with the data directory is full.');
    await bench.open();
    await expect(bench.start('i-1', 128)).rejects.toThrow(
      expect.objectContaining({ code: 'NoRoom', message: expect.stringMatching(/disk.*full/) }),
    );
    const waiting = bench.start('i-2', 128);
    bench.driver.failure = undefined;
    await expect(waiting).resolves.toMatchObject({ outcome: 'started' });
  });

  test('an instance that its guest does not end in time ends with its machine, which is no fault', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    const vm = bench.vmOf('i-1');
    vm.mock.script.next('stop', { do: 'fail', error: new BellowsError('Unavailable', 'No answer.') });
    await bench.fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'it timed out' });
    expect(bench.driver.vms.has(vm.id)).toBe(false);
    expect(bench.exits()).toEqual([expect.objectContaining({ reason: 'it timed out' })]);
    expect(bench.told('lost')).toEqual([]);
    expect(bench.told('stopped')).toMatchObject([
      { unit: vm.id, happened: { reason: 'its last instance ended' } },
    ]);
  });

  test('a guest that is slow to end one of several keeps the others: it answers, so it lives', async () => {
    await bench.open({ sharing: 'tenant' });
    await bench.start('i-1', 128);
    await bench.start('i-2', 128);
    const vm = bench.vmOf('i-1');
    const call = vm.guest.call.bind(vm.guest);
    vi.spyOn(vm.guest, 'call').mockImplementation(async (name, params, options) => {
      if (name === 'stop') await new Promise((resolve) => setTimeout(resolve, 200));
      return call(name, params, options);
    });
    await bench.fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    expect(bench.exits().map(({ id }) => id)).toEqual(['i-1']);
    expect((await bench.fleet.handlers.list({})).instances.map(({ info }) => info.id)).toEqual(['i-2']);
    expect(bench.told('lost')).toEqual([]);
  });

  test('a guest that neither ends one of several nor answers anything is lost as hung', async () => {
    await bench.open({ sharing: 'tenant' }, 1, { hungAfterMs: 300 });
    await bench.start('i-1', 128);
    await bench.start('i-2', 128);
    bench.vmOf('i-1').hung = true;
    await bench.fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    await expect.poll(() => bench.exits().map(({ id }) => id)).toEqual(['i-1', 'i-2']);
    expect(bench.told('lost')).toMatchObject([{ happened: { code: 'GuestHung' } }]);
  });

  test('a start whose unit is lost meanwhile is answered with the code of that', async () => {
    await bench.open();
    bench.driver.moveToGroup = async () => {
      for (const vm of bench.driver.all) vm.lose('QEMU was ended by SIGKILL');
    };
    await expect(bench.start('i-1', 128)).rejects.toMatchObject({
      code: 'UnitLost',
      message: expect.stringMatching(/SIGKILL/),
    });
  });

  test('user code that fails while it loads leaves nothing, and its error is answered', async () => {
    await bench.open({}, 0);
    const failed = { errorType: 'Error', errorMessage: 'no such module', trace: [] };
    const starting = bench.fleet.handlers.start(bench.specOf('i-1', 128));
    await expect.poll(() => bench.driver.all.length).toBe(1);
    bench.driver.all[0]?.mock.script.next('start', {
      do: 'answer',
      result: { outcome: 'failed', error: failed },
    });
    expect(await starting).toEqual({ outcome: 'failed', error: failed });
    await expect.poll(() => bench.driver.vms.size).toBe(0);
  });
});
