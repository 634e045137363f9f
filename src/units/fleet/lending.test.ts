// What is lent of an instance in a machine: claimed of that machine, and back before anybody needs it.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import { FleetBench, grantOf } from './testing/bench.ts';

let bench: FleetBench;

beforeEach(() => {
  bench = new FleetBench();
});
afterEach(() => bench.close());

describe('B4: what is lent of an instance', () => {
  const lend = (id: string, memoryMib: number, promisedMib: number) =>
    bench.fleet.handlers.resize({
      tenants: [],
      instances: [
        {
          id: id as InstanceId,
          grant: grantOf(memoryMib),
          promised: { memory: (promisedMib * mib) as never },
        },
      ],
      waitMs: 0,
    });
  const back = () => bench.events.flatMap((event) => (event.event === 'givenBack' ? [event.data] : []));
  /** With what the fleet leaves to an instance whose memory is lent. */
  const claimedWhileLent = (memoryMib: number): number => gib - (memoryMib + 16) * mib;

  test('how one gets on that has less than was asked for it is told to the agent inside, and by it', async () => {
    await bench.open();
    await bench.start('i-1', 128);
    const id = 'i-1' as InstanceId;
    const requested = { memory: (512 * mib) as never };
    await bench.fleet.handlers.resize({
      tenants: [],
      instances: [{ id, grant: grantOf(128), requested }],
      waitMs: 0,
    });
    const { mock } = bench.vmOf('i-1');
    expect(mock.calls.findLast(({ method }) => method === 'resize')?.params).toMatchObject({
      instances: [{ id, requested }],
    });
    const data = { id, strain: 'near', limitBytes: 128 * mib, requestedBytes: 512 * mib } as const;
    mock.emit({ event: 'strained', data });
    await expect
      .poll(() => bench.events.filter(({ event }) => event === 'strained'))
      .toEqual([{ event: 'strained', data }]);
  });

  test('is told to the agent inside, and claimed of the machine', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    const { instances } = await lend('i-1', 128, 512);
    expect(instances[0]?.changes[0]).toMatchObject({
      status: 'applied',
      before: 512 * mib,
      after: 128 * mib,
    });
    expect(vm.mock.instance('i-1' as InstanceId)).toMatchObject({ promised: { memory: 512 * mib } });
    expect(vm.claimedBytes).toBe(claimedWhileLent(128));
    expect((await bench.fleet.handlers.list({})).instances[0]?.info).toMatchObject({
      grant: { memory: 128 * mib },
      promised: { memory: 512 * mib },
    });
  });

  test('is the machine’s again before it is thawed, and that is told with the host’s names', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    await bench.fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    await lend('i-1', 64, 512);
    await expect.poll(() => vm.claimedBytes).toBeGreaterThanOrEqual(claimedWhileLent(64));
    bench.driver.journal.length = 0;
    await bench.fleet.handlers.thaw({ id: 'i-1' as InstanceId });
    const done = bench.journalOf(vm);
    expect(done.indexOf(`usable ${512 * mib}`)).toBeGreaterThan(done.indexOf(`claimed ${512 * mib}`));
    expect(done.indexOf('thaw')).toBeGreaterThan(done.indexOf(`usable ${512 * mib}`));
    expect(vm.claimedBytes).toBe(512 * mib);
    expect(back()).toEqual([{ id: 'i-1', grant: grantOf(512), why: 'thaw' }]);
    expect((await bench.fleet.handlers.list({})).instances[0]?.info).not.toHaveProperty('promised.memory');
  });

  test('is the machine’s again as soon as the agent inside has given it back, past a claim under way', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    await lend('i-1', 128, 512);
    vm.mock.giveBack('i-1' as InstanceId, 'strain');
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
    expect(back()).toEqual([{ id: 'i-1', grant: grantOf(512), why: 'strain' }]);
    expect((await bench.fleet.handlers.list({})).instances[0]?.info.grant).toEqual(grantOf(512));
  });

  test('which is needed while the change is under way is not claimed', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    vm.mock.script.next('resize', { do: 'delay', ms: 30 });
    const stop = vm.mock.listen((event) => {
      // Right after it was lent, and before that is answered.
      if (event.event !== 'instance' || event.data.promised === undefined) return;
      stop();
      vm.mock.giveBack('i-1' as InstanceId, 'strain');
    });
    await lend('i-1', 128, 512);
    expect(vm.claimedBytes).toBe(512 * mib);
  });

  test('is claimed no more when another agent is inside, which has given it back', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    await lend('i-1', 128, 512);
    vm.disconnect();
    vm.mock.giveBack('i-1' as InstanceId, 'strain');
    bench.events.length = 0;
    vm.reconnect();
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
  });

  test('stays lent when something else that had to wait is given', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    bench.hostAvailableBytes = 0;
    const waits = await bench.fleet.handlers.resize({
      tenants: [],
      instances: [
        { id: 'i-1' as InstanceId, grant: grantOf(400), promised: { memory: (512 * mib) as never } },
      ],
      waitMs: 0,
    });
    expect(waits.instances[0]?.changes[0]).toMatchObject({ status: 'deferred', after: 256 * mib });
    bench.hostAvailableBytes = 64 * gib;
    const vm = bench.vmOf('i-1');
    await expect
      .poll(() => vm.mock.instance('i-1' as InstanceId))
      .toMatchObject({ grant: { memory: 400 * mib }, promised: { memory: 512 * mib } });
  });
});
