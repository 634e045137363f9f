// Live resizes through the fleet, over machines that are not there: in which order, and what waits.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import { acme, FleetBench, grantOf, rival } from './testing/bench.ts';

let bench: FleetBench;

beforeEach(() => {
  bench = new FleetBench();
});
afterEach(() => bench.close());

describe('live resize', () => {
  test('M-A3: what grows has room in its unit before its limit rises; what shrinks is limited before it is claimed', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    const vm = bench.vmOf('i-1');
    bench.driver.journal.length = 0;
    expect((await bench.resize('i-1', 512)).instances[0]?.changes).toContainEqual(
      expect.objectContaining({ resource: 'memory', before: 256 * mib, after: 512 * mib, status: 'applied' }),
    );
    expect(bench.journalOf(vm).filter((entry) => /^claimed|^resize/.test(entry))).toEqual([
      `claimed ${512 * mib}`,
      'resize',
    ]);
    bench.driver.journal.length = 0;
    await bench.resize('i-1', 128);
    expect(bench.journalOf(vm).filter((entry) => /^claimed|^resize/.test(entry))).toEqual([
      'resize',
      `claimed ${896 * mib}`,
    ]);
  });

  test('E1: what the guest defers is not claimed; when it is applied, it is, and is told', async () => {
    await bench.open();
    await bench.start('i-1', 512);
    const vm = bench.vmOf('i-1');
    vm.mock.setInUse('i-1' as InstanceId, 300 * mib);
    const result = await bench.resize('i-1', 128);
    expect(result.instances[0]?.changes).toContainEqual(
      expect.objectContaining({ resource: 'memory', status: 'deferred', after: 512 * mib }),
    );
    expect(vm.claimedBytes).toBe(512 * mib);
    vm.mock.setInUse('i-1' as InstanceId, 50 * mib);
    await expect.poll(() => vm.claimedBytes).toBe(896 * mib);
    expect(bench.events.some(({ event }) => event === 'applied')).toBe(true);
  });

  test('a tenant’s CPU limit is that of the group of its machines: raised before theirs, lowered after', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    const quotas: string[] = [];
    vi.spyOn(bench.driver, 'setCpu').mockImplementation(
      async (_, millicores) => void quotas.push(`unit ${millicores}`),
    );
    bench.cgroup.setLimits = async (group, { cpuMillicores }) => {
      // As cgroup v1 refuses a quota that is below that of a group inside.
      if (cpuMillicores === 450 && !quotas.includes('unit 450'))
        throw new BellowsError('Infeasible', 'above it');
      quotas.push(`${group.join('/')} ${cpuMillicores}`);
      return 'applied';
    };
    const limited = (cpuMillicores: number | null) =>
      bench.fleet.handlers.resize({ tenants: [{ ...acme, cpuMillicores }], instances: [], waitMs: 0 });
    await limited(200);
    expect(quotas).toEqual(['unit 450', 'tenants/acme 450']);
    quotas.length = 0;
    await limited(null);
    expect(quotas).toEqual(['tenants/acme null', 'unit 750']);
  });

  test('beyond what the unit was provisioned with it is infeasible, with the reason, and nothing moves', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    const [change] = (await bench.resize('i-1', 4096)).instances[0]?.changes ?? [];
    expect(change).toMatchObject({
      resource: 'memory',
      status: 'infeasible',
      after: 256 * mib,
      reason: expect.stringMatching(/provisioned with 1\.0 GiB/),
    });
    expect(bench.vmOf('i-1').claimedBytes).toBe(768 * mib);
  });

  test('E1: growth that the host has no memory for waits, and is applied and told when there is some', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    const vm = bench.vmOf('i-1');
    bench.hostAvailableBytes = 100 * mib;
    const [change] = (await bench.resize('i-1', 512)).instances[0]?.changes ?? [];
    expect(change).toMatchObject({
      resource: 'memory',
      status: 'deferred',
      after: 256 * mib,
      wanted: 512 * mib,
      reason: expect.stringMatching(/the host has only 100 MiB/),
    });
    expect(vm.claimedBytes).toBe(768 * mib);
    bench.hostAvailableBytes = gib;
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
    const applied = bench.events.flatMap((event) => (event.event === 'applied' ? event.data.instances : []));
    expect(applied).toMatchObject([
      { instance: 'i-1', changes: [{ resource: 'memory', status: 'applied', after: 512 * mib }] },
    ]);
  });

  test('what waits is forgotten when something else is wanted', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    bench.hostAvailableBytes = 0;
    await bench.resize('i-1', 512);
    await bench.resize('i-1', 128);
    bench.hostAvailableBytes = gib;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(bench.vmOf('i-1').claimedBytes).toBe(896 * mib);
  });

  test('who is willing to wait is answered when there is room', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    bench.hostAvailableBytes = 0;
    setTimeout(() => (bench.hostAvailableBytes = gib), 50);
    const { instances } = await bench.fleet.handlers.resize({
      tenants: [],
      instances: [{ id: 'i-1' as InstanceId, grant: grantOf(512) }],
      waitMs: 5_000,
    });
    expect(instances[0]?.changes).toContainEqual(
      expect.objectContaining({ resource: 'memory', status: 'applied', after: 512 * mib }),
    );
  });

  test('in a shared unit what one leaves another grows into', async () => {
    await bench.open({ sharing: 'all' });
    await bench.start('i-1', 600);
    await bench.start('i-2', 256, rival);
    const [change] = (await bench.resize('i-2', 700)).instances[0]?.changes ?? [];
    expect(change).toMatchObject({ status: 'deferred', reason: expect.stringMatching(/others in its unit/) });
    await bench.resize('i-1', 200);
    await expect
      .poll(async () =>
        (await bench.fleet.handlers.list({})).instances.map(({ info }) => [info.id, info.grant.memory / mib]),
      )
      .toEqual([
        ['i-1', 200],
        ['i-2', 700],
      ]);
  });

  test('storage and bandwidth change live, in the same answer', async () => {
    await bench.open();
    await bench.start('i-1', 256);
    const grant = { ...grantOf(256), storage: 64 * mib, bandwidth: 5e6 } as Resources;
    const request = { tenants: [], instances: [{ id: 'i-1' as InstanceId, grant }], waitMs: 0 };
    const { instances } = await bench.fleet.handlers.resize(request);
    for (const resource of ['storage', 'bandwidth'])
      expect(instances[0]?.changes).toContainEqual(expect.objectContaining({ resource, status: 'applied' }));
    expect((await bench.fleet.handlers.list({})).instances[0]?.info.grant).toMatchObject({
      storage: 64 * mib,
    });
  });

  test('what could not be claimed at once is claimed later', async () => {
    await bench.open();
    await bench.start('i-1', 1024);
    const vm = bench.vmOf('i-1');
    vm.spareBytes = 100 * mib;
    const [change] = (await bench.resize('i-1', 512)).instances[0]?.changes ?? [];
    expect(change).toMatchObject({ status: 'applied', reason: expect.stringMatching(/go back to the host/) });
    vm.spareBytes = Number.POSITIVE_INFINITY;
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
  });
});
