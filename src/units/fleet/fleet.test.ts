// The fleet over machines that are not there: what it does, in which order, and what becomes of faults.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { pino } from 'pino';
import { CgroupNone } from '../../agent/cgroup/none.ts';
import { systemClock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { AgentProtocol, InstanceSpec } from '../../protocol/agent.ts';
import type { EventOf } from '../../protocol/rpc.ts';
import type { ProcessActivity } from '../../sys/process-activity.ts';
import { MockVmDriver, type MockVm } from '../mock/mock-vm-driver.ts';
import type { FleetConfig, FleetTuning } from './config.ts';
import { Fleet } from './fleet.ts';
import { UnitCode } from './unit-code.ts';

const size = { memory: gib, cpu: 2000, storage: gib, bandwidth: 1e8 } as Resources;
const grantOf = (memoryMib: number): Resources =>
  ({ memory: memoryMib * mib, cpu: 500, storage: 128 * mib, bandwidth: 1e7 }) as Resources;
const acme = { tenant: 'acme' as TenantId, uid: 1, memoryBytes: null, cpuMillicores: null, weight: 1 };
const rival = { ...acme, tenant: 'rival' as TenantId, uid: 2 };
const quick: Partial<FleetTuning> = {
  hostReserveBytes: 0,
  acquireTimeoutMs: 300,
  hungAfterMs: 60,
  standstillMs: 1_000,
  stopAnswerMs: 40,
  stopSlowMs: 400,
  closeAnswerMs: 400,
  pingMs: 20,
  reconnectMs: 80,
  cloneRetryFirstMs: 10,
  idleClaimMs: 10,
  settleMs: 20,
  growthRetryMs: 10,
  knockMs: 10,
  wakeRetryMs: 10,
  calmFirstMs: 60,
  lastLogsMs: 200,
};

let directory: string;
let driver: MockVmDriver;
let cgroup: CgroupNone;
let fleet: Fleet;
let events: EventOf<AgentProtocol>[];
let sent: string[];
/** What the kernel is made to say of every unit's process. */
let activity: ProcessActivity | undefined;
let hostAvailableBytes: number;
/** Addresses that connections of this machine wait for. */
let awaited: Set<string>;

function specOf(id: string, memoryMib: number, of = acme): InstanceSpec {
  return {
    id: id as InstanceId,
    tenant: of.tenant,
    uid: of.uid,
    workload: `${of.tenant}/chat` as WorkloadKey,
    generation: 'g1',
    kind: 'app',
    runtime: 'nodejs26.x',
    codeDirectory: `${directory}/code/${of.tenant}/${'a'.repeat(64)}`,
    handler: null,
    start: 'node server.js',
    timeoutMs: 1_000,
    env: {},
    network: 'host',
    grant: grantOf(memoryMib),
    function: null,
  };
}

async function open(
  units: Partial<FleetConfig['units']> = {},
  pool = 1,
  tuning: Partial<FleetTuning> = {},
): Promise<void> {
  const config = {
    dataDirectory: directory,
    units: {
      size,
      accelerator: 'tcg' as const,
      image: null,
      sharing: 'none' as const,
      subnet: null,
      poolMaximum: 10,
      ...units,
    },
  };
  const code = new UnitCode(async (_, { sha256 }) => void sent.push(sha256));
  fleet = new Fleet({
    config,
    capacity: size,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    tuning: { ...quick, ...tuning },
    code,
    activityOf: () => activity,
    hostAvailableBytes: () => hostAvailableBytes,
    awaited: async (addresses) => new Set(addresses.filter((address) => awaited.has(address))),
    emit: (event) => events.push(event),
  });
  await fleet.handlers.setPool({ size: pool });
  cgroup = new CgroupNone();
  await fleet.open({ driver, cgroup, left: await driver.open(), startsAtOnce: 2 });
  for (const tenant of [acme, rival]) await fleet.handlers.ensureTenant(tenant);
}

const start = async (id: string, memoryMib: number, of = acme) => {
  const result = await fleet.handlers.start(specOf(id, memoryMib, of));
  if (result.outcome !== 'started') throw new Error('it did not start');
  return result;
};
const vmOf = (id: string): MockVm => {
  const found = driver.all.find(({ mock }) => {
    try {
      return mock.instance(id as InstanceId) !== undefined;
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new Error(`no unit has ${id}`);
  return found;
};
const resize = (id: string, memoryMib: number) =>
  fleet.handlers.resize({
    tenants: [],
    instances: [{ id: id as InstanceId, grant: grantOf(memoryMib) }],
    waitMs: 0,
  });
const told = (what: string) =>
  events.flatMap((event) =>
    event.event === 'unit' && event.data.happened.what === what ? [event.data] : [],
  );
const exits = () => events.flatMap((event) => (event.event === 'exited' ? [event.data] : []));
/** What was done to a unit, from the first entry that names `from` on. */
const journalOf = (vm: MockVm): string[] =>
  driver.journal.filter((entry) => entry.startsWith(vm.id)).map((entry) => entry.slice(vm.id.length + 1));

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-fleet-'));
  driver = new MockVmDriver();
  events = [];
  sent = [];
  activity = undefined;
  hostAvailableBytes = 64 * gib;
  awaited = new Set();
});
afterEach(async () => {
  await fleet.close(0);
  rmSync(directory, { recursive: true, force: true });
});

describe('any size from one pool', () => {
  test.each([128, 200, 512, 1024])(
    'M-A2, M-A6: %d MiB: the rest is claimed before user code runs',
    async (asked) => {
      await open();
      const { endpoint, instance } = await start('i-1', asked);
      const vm = vmOf('i-1');
      expect(vm.claimedBytes).toBe(gib - asked * mib);
      expect(instance.unit).toBe(vm.id);
      expect(endpoint.door).toEqual(vm.door);
      const done = journalOf(vm);
      expect(done.indexOf(`usable ${asked * mib}`)).toBeLessThan(done.indexOf('start'));
      expect(done.findLastIndex((entry) => entry.startsWith('claimed'))).toBeLessThan(done.indexOf('start'));
    },
  );

  test('a start takes nothing from itself: what has to be freed first is claimed when it serves', async () => {
    await open({}, 0);
    const starting = start('i-1', 128);
    await expect.poll(() => driver.all.length).toBe(1);
    const [vm] = driver.all;
    if (vm === undefined) throw new Error('no unit');
    vm.freeBytes = 300 * mib;
    await starting;
    const done = journalOf(vm);
    expect(done.slice(0, done.indexOf('start'))).not.toContain(`claimed ${896 * mib}`);
    await expect.poll(() => vm.claimedBytes).toBe(896 * mib);
  });

  test('more than a unit has is refused, with both amounts', async () => {
    await open();
    await expect(start('i-1', 2048)).rejects.toThrow(/2\.0 GiB.*1\.0 GiB/);
  });

  test('each instance has a unit of its own, which goes with it; another takes its place', async () => {
    await open();
    await Promise.all([start('i-1', 128), start('i-2', 128, rival)]);
    const [first, second] = [vmOf('i-1'), vmOf('i-2')];
    expect(first.id).not.toBe(second.id);
    await fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    expect(driver.vms.has(first.id)).toBe(false);
    expect(exits()).toEqual([expect.objectContaining({ id: 'i-1', reason: 'test' })]);
    await expect.poll(() => driver.vms.size).toBe(2);
    expect(driver.vms.has(second.id)).toBe(true);
  });

  test('C1: tenants share a unit where the operator allows it, and code is sent into it once', async () => {
    await open({ sharing: 'all' });
    await start('i-1', 128);
    await start('i-2', 200);
    await start('i-3', 256, rival);
    const vm = vmOf('i-1');
    expect(vmOf('i-3').id).toBe(vm.id);
    expect(vm.claimedBytes).toBe(gib - (128 + 200 + 256) * mib);
    expect(sent).toHaveLength(2);
    const { units } = await fleet.handlers.measure({});
    expect(units.find(({ id }) => id === vm.id)).toMatchObject({ tenant: null, state: 'bound' });
  });
});

describe('a guest is slow, and is not asked for more than is needed', () => {
  const asked = (vm: MockVm, what: string): number => journalOf(vm).filter((entry) => entry === what).length;

  test('of starts that come at once two are under way, and all come to serve', async () => {
    await open({}, 5);
    await expect.poll(() => driver.all.length).toBe(5);
    for (const { mock } of driver.all) mock.script.always('start', { do: 'delay', ms: 30 });
    const all = Promise.all(['i-1', 'i-2', 'i-3', 'i-4', 'i-5'].map((id) => start(id, 128)));
    const begun = (): number => driver.all.filter((vm) => asked(vm, 'start') > 0).length;
    await expect.poll(begun, { interval: 2 }).toBe(2);
    await all;
    expect(begun()).toBe(5);
    expect((await fleet.handlers.list({})).instances).toHaveLength(5);
  });

  test('a unit that stands still is measured once, and again when it runs', async () => {
    await open();
    await start('i-1', 128);
    const vm = vmOf('i-1');
    const measured = async (): Promise<number> => {
      driver.journal.length = 0;
      for (let round = 0; round < 3; round += 1)
        expect((await fleet.handlers.measure({})).instances).toHaveLength(1);
      return asked(vm, 'measure');
    };
    expect(await measured()).toBe(3);
    await fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    expect(await measured()).toBe(1);
    expect(await measured()).toBe(0);
    await fleet.handlers.thaw({ id: 'i-1' as InstanceId });
    expect(await measured()).toBe(3);
  });

  test('a guest that has not answered yet is not asked a second time', async () => {
    await open();
    await start('i-1', 128);
    const vm = vmOf('i-1');
    await fleet.handlers.measure({});
    driver.journal.length = 0;
    vm.mock.script.next('measure', { do: 'delay', ms: 50 });
    const slow = fleet.handlers.measure({});
    expect((await fleet.handlers.measure({})).instances).toHaveLength(1);
    expect((await slow).instances).toHaveLength(1);
    expect(asked(vm, 'measure')).toBe(1);
  });

  test('what holds of a tenant is told once, and again when it changed or a resize told otherwise', async () => {
    await open();
    await start('i-1', 128);
    const vm = vmOf('i-1');
    driver.journal.length = 0;
    await fleet.handlers.ensureTenant(acme);
    expect(asked(vm, 'ensureTenant')).toBe(0);
    await fleet.handlers.ensureTenant({ ...acme, weight: 2 });
    await fleet.handlers.ensureTenant({ ...acme, weight: 2 });
    expect(asked(vm, 'ensureTenant')).toBe(1);
    await fleet.handlers.resize({ tenants: [acme], instances: [], waitMs: 0 });
    await fleet.handlers.ensureTenant({ ...acme, weight: 2 });
    expect(asked(vm, 'ensureTenant')).toBe(2);
  });
});

describe('live resize', () => {
  test('M-A3: what grows has room in its unit before its limit rises; what shrinks is limited before it is claimed', async () => {
    await open();
    await start('i-1', 256);
    const vm = vmOf('i-1');
    driver.journal.length = 0;
    expect((await resize('i-1', 512)).instances[0]?.changes).toContainEqual(
      expect.objectContaining({ resource: 'memory', before: 256 * mib, after: 512 * mib, status: 'applied' }),
    );
    expect(journalOf(vm).filter((entry) => /^claimed|^resize/.test(entry))).toEqual([
      `claimed ${512 * mib}`,
      'resize',
    ]);
    driver.journal.length = 0;
    await resize('i-1', 128);
    expect(journalOf(vm).filter((entry) => /^claimed|^resize/.test(entry))).toEqual([
      'resize',
      `claimed ${896 * mib}`,
    ]);
  });

  test('E1: what the guest defers is not claimed; when it is applied, it is, and is told', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    vm.mock.setInUse('i-1' as InstanceId, 300 * mib);
    const result = await resize('i-1', 128);
    expect(result.instances[0]?.changes).toContainEqual(
      expect.objectContaining({ resource: 'memory', status: 'deferred', after: 512 * mib }),
    );
    expect(vm.claimedBytes).toBe(512 * mib);
    vm.mock.setInUse('i-1' as InstanceId, 50 * mib);
    await expect.poll(() => vm.claimedBytes).toBe(896 * mib);
    expect(events.some(({ event }) => event === 'applied')).toBe(true);
  });

  test('a tenant’s CPU limit is that of the group of its machines: raised before theirs, lowered after', async () => {
    await open();
    await start('i-1', 256);
    const quotas: string[] = [];
    vi.spyOn(driver, 'setCpu').mockImplementation(
      async (_, millicores) => void quotas.push(`unit ${millicores}`),
    );
    cgroup.setLimits = async (group, { cpuMillicores }) => {
      // As cgroup v1 refuses a quota that is below that of a group inside.
      if (cpuMillicores === 450 && !quotas.includes('unit 450'))
        throw new BellowsError('Infeasible', 'above it');
      quotas.push(`${group.join('/')} ${cpuMillicores}`);
      return 'applied';
    };
    const limited = (cpuMillicores: number | null) =>
      fleet.handlers.resize({ tenants: [{ ...acme, cpuMillicores }], instances: [], waitMs: 0 });
    await limited(200);
    expect(quotas).toEqual(['unit 450', 'tenants/acme 450']);
    quotas.length = 0;
    await limited(null);
    expect(quotas).toEqual(['tenants/acme null', 'unit 750']);
  });

  test('beyond what the unit was provisioned with it is infeasible, with the reason, and nothing moves', async () => {
    await open();
    await start('i-1', 256);
    const [change] = (await resize('i-1', 4096)).instances[0]?.changes ?? [];
    expect(change).toMatchObject({
      resource: 'memory',
      status: 'infeasible',
      after: 256 * mib,
      reason: expect.stringMatching(/provisioned with 1\.0 GiB/),
    });
    expect(vmOf('i-1').claimedBytes).toBe(768 * mib);
  });

  test('E1: growth that the host has no memory for waits, and is applied and told when there is some', async () => {
    await open();
    await start('i-1', 256);
    const vm = vmOf('i-1');
    hostAvailableBytes = 100 * mib;
    const [change] = (await resize('i-1', 512)).instances[0]?.changes ?? [];
    expect(change).toMatchObject({
      resource: 'memory',
      status: 'deferred',
      after: 256 * mib,
      wanted: 512 * mib,
      reason: expect.stringMatching(/the host has only 100 MiB/),
    });
    expect(vm.claimedBytes).toBe(768 * mib);
    hostAvailableBytes = gib;
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
    const applied = events.flatMap((event) => (event.event === 'applied' ? event.data.instances : []));
    expect(applied).toMatchObject([
      { instance: 'i-1', changes: [{ resource: 'memory', status: 'applied', after: 512 * mib }] },
    ]);
  });

  test('what waits is forgotten when something else is wanted', async () => {
    await open();
    await start('i-1', 256);
    hostAvailableBytes = 0;
    await resize('i-1', 512);
    await resize('i-1', 128);
    hostAvailableBytes = gib;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(vmOf('i-1').claimedBytes).toBe(896 * mib);
  });

  test('who is willing to wait is answered when there is room', async () => {
    await open();
    await start('i-1', 256);
    hostAvailableBytes = 0;
    setTimeout(() => (hostAvailableBytes = gib), 50);
    const { instances } = await fleet.handlers.resize({
      tenants: [],
      instances: [{ id: 'i-1' as InstanceId, grant: grantOf(512) }],
      waitMs: 5_000,
    });
    expect(instances[0]?.changes).toContainEqual(
      expect.objectContaining({ resource: 'memory', status: 'applied', after: 512 * mib }),
    );
  });

  test('in a shared unit what one leaves another grows into', async () => {
    await open({ sharing: 'all' });
    await start('i-1', 600);
    await start('i-2', 256, rival);
    const [change] = (await resize('i-2', 700)).instances[0]?.changes ?? [];
    expect(change).toMatchObject({ status: 'deferred', reason: expect.stringMatching(/others in its unit/) });
    await resize('i-1', 200);
    await expect
      .poll(async () =>
        (await fleet.handlers.list({})).instances.map(({ info }) => [info.id, info.grant.memory / mib]),
      )
      .toEqual([
        ['i-1', 200],
        ['i-2', 700],
      ]);
  });

  test('storage and bandwidth change live, in the same answer', async () => {
    await open();
    await start('i-1', 256);
    const grant = { ...grantOf(256), storage: 64 * mib, bandwidth: 5e6 } as Resources;
    const request = { tenants: [], instances: [{ id: 'i-1' as InstanceId, grant }], waitMs: 0 };
    const { instances } = await fleet.handlers.resize(request);
    for (const resource of ['storage', 'bandwidth'])
      expect(instances[0]?.changes).toContainEqual(expect.objectContaining({ resource, status: 'applied' }));
    expect((await fleet.handlers.list({})).instances[0]?.info.grant).toMatchObject({ storage: 64 * mib });
  });

  test('what could not be claimed at once is claimed later', async () => {
    await open();
    await start('i-1', 1024);
    const vm = vmOf('i-1');
    vm.spareBytes = 100 * mib;
    const [change] = (await resize('i-1', 512)).instances[0]?.changes ?? [];
    expect(change).toMatchObject({ status: 'applied', reason: expect.stringMatching(/go back to the host/) });
    vm.spareBytes = Number.POSITIVE_INFINITY;
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
  });
});

describe('B4: given back before it is needed', () => {
  test('a unit whose instance is frozen is claimed down, and has everything again before it is thawed', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    await fleet.handlers.measure({});
    await fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    await expect.poll(() => vm.claimedBytes).toBeGreaterThan(900 * mib);
    driver.journal.length = 0;
    await fleet.handlers.thaw({ id: 'i-1' as InstanceId });
    const done = journalOf(vm);
    expect(done.indexOf(`claimed ${512 * mib}`)).toBeLessThan(done.indexOf('thaw'));
    expect(vm.claimedBytes).toBe(512 * mib);
  });

  test('under pressure everything goes back at once, and is claimed again when it is calm', async () => {
    await open();
    await start('i-1', 256);
    const vm = vmOf('i-1');
    driver.journal.length = 0;
    vm.emitGuest({ event: 'pressure', data: { availableBytes: 1, stalledMicros: 1, why: 'test' } });
    // Whoever looks now and then may miss the moment in which nothing is claimed.
    await expect.poll(() => journalOf(vm)).toEqual(['claimed 0', `claimed ${768 * mib}`]);
  });
});

describe('B4: what is lent of an instance', () => {
  const lend = (id: string, memoryMib: number, promisedMib: number) =>
    fleet.handlers.resize({
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
  const back = () => events.flatMap((event) => (event.event === 'givenBack' ? [event.data] : []));
  /** With what the fleet leaves to an instance whose memory is lent. */
  const claimedWhileLent = (memoryMib: number): number => gib - (memoryMib + 16) * mib;

  test('how one gets on that has less than was asked for it is told to the agent inside, and by it', async () => {
    await open();
    await start('i-1', 128);
    const id = 'i-1' as InstanceId;
    const requested = { memory: (512 * mib) as never };
    await fleet.handlers.resize({
      tenants: [],
      instances: [{ id, grant: grantOf(128), requested }],
      waitMs: 0,
    });
    const { mock } = vmOf('i-1');
    expect(mock.calls.findLast(({ method }) => method === 'resize')?.params).toMatchObject({
      instances: [{ id, requested }],
    });
    const data = { id, strain: 'near', limitBytes: 128 * mib, requestedBytes: 512 * mib } as const;
    mock.emit({ event: 'strained', data });
    await expect
      .poll(() => events.filter(({ event }) => event === 'strained'))
      .toEqual([{ event: 'strained', data }]);
  });

  test('is told to the agent inside, and claimed of the machine', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    const { instances } = await lend('i-1', 128, 512);
    expect(instances[0]?.changes[0]).toMatchObject({
      status: 'applied',
      before: 512 * mib,
      after: 128 * mib,
    });
    expect(vm.mock.instance('i-1' as InstanceId)).toMatchObject({ promised: { memory: 512 * mib } });
    expect(vm.claimedBytes).toBe(claimedWhileLent(128));
    expect((await fleet.handlers.list({})).instances[0]?.info).toMatchObject({
      grant: { memory: 128 * mib },
      promised: { memory: 512 * mib },
    });
  });

  test('is the machine’s again before it is thawed, and that is told with the host’s names', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    await fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    await lend('i-1', 64, 512);
    await expect.poll(() => vm.claimedBytes).toBeGreaterThanOrEqual(claimedWhileLent(64));
    driver.journal.length = 0;
    await fleet.handlers.thaw({ id: 'i-1' as InstanceId });
    const done = journalOf(vm);
    expect(done.indexOf(`usable ${512 * mib}`)).toBeGreaterThan(done.indexOf(`claimed ${512 * mib}`));
    expect(done.indexOf('thaw')).toBeGreaterThan(done.indexOf(`usable ${512 * mib}`));
    expect(vm.claimedBytes).toBe(512 * mib);
    expect(back()).toEqual([{ id: 'i-1', grant: grantOf(512), why: 'thaw' }]);
    expect((await fleet.handlers.list({})).instances[0]?.info).not.toHaveProperty('promised.memory');
  });

  test('is the machine’s again as soon as the agent inside has given it back, past a claim under way', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    await lend('i-1', 128, 512);
    vm.mock.giveBack('i-1' as InstanceId, 'strain');
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
    expect(back()).toEqual([{ id: 'i-1', grant: grantOf(512), why: 'strain' }]);
    expect((await fleet.handlers.list({})).instances[0]?.info.grant).toEqual(grantOf(512));
  });

  test('which is needed while the change is under way is not claimed', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
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
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    await lend('i-1', 128, 512);
    vm.disconnect();
    vm.mock.giveBack('i-1' as InstanceId, 'strain');
    events.length = 0;
    vm.reconnect();
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
  });

  test('stays lent when something else that had to wait is given', async () => {
    await open();
    await start('i-1', 256);
    hostAvailableBytes = 0;
    const waits = await fleet.handlers.resize({
      tenants: [],
      instances: [
        { id: 'i-1' as InstanceId, grant: grantOf(400), promised: { memory: (512 * mib) as never } },
      ],
      waitMs: 0,
    });
    expect(waits.instances[0]?.changes[0]).toMatchObject({ status: 'deferred', after: 256 * mib });
    hostAvailableBytes = 64 * gib;
    const vm = vmOf('i-1');
    await expect
      .poll(() => vm.mock.instance('i-1' as InstanceId))
      .toMatchObject({ grant: { memory: 400 * mib }, promised: { memory: 512 * mib } });
  });
});

describe('B6: on request, also of what runs', () => {
  const trim = async (id: string) => (await fleet.handlers.trim({ id: id as InstanceId })).unit?.claimedBytes;

  test('what nothing inside has is claimed, and says so; a grant of more gives it back first', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
    vm.freeBytes = 364 * mib;
    expect(await trim('i-1')).toBe(300 * mib);
    expect(vm.claimedBytes).toBe(812 * mib);
    expect(told('claimed').findLast(({ unit }) => unit === vm.id)).toMatchObject({
      happened: { why: expect.stringMatching(/asked for/) },
    });
    // What is settled meanwhile leaves it claimed.
    await fleet.handlers.ensureTenant({ ...acme, weight: 2 });
    await resize('i-1', 512);
    expect(vm.claimedBytes).toBe(812 * mib);
    driver.journal.length = 0;
    await resize('i-1', 600);
    const done = journalOf(vm);
    expect(done.indexOf(`claimed ${424 * mib}`)).toBeLessThan(done.indexOf('resize'));
    expect(vm.claimedBytes).toBe(424 * mib);
  });

  test('a program that is too slow to collect its garbage does not keep what is free beside it', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
    vm.freeBytes = 364 * mib;
    vm.mock.script.next('trim', { do: 'fail', error: new BellowsError('Unavailable', 'No answer.') });
    expect(await trim('i-1')).toBe(300 * mib);
  });

  test('it goes back when memory gets short inside, and is not claimed again by itself', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    vm.freeBytes = 364 * mib;
    await trim('i-1');
    vm.emitGuest({ event: 'pressure', data: { availableBytes: 1, stalledMicros: 1, why: 'test' } });
    await expect.poll(() => vm.claimedBytes).toBe(0);
    expect(await trim('i-1')).toBe(0);
    await expect.poll(() => vm.claimedBytes).toBe(512 * mib);
  });

  test('it goes back before a thaw', async () => {
    await open();
    await start('i-1', 512);
    const vm = vmOf('i-1');
    await fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    vm.freeBytes = 364 * mib;
    await trim('i-1');
    expect(vm.claimedBytes).toBeGreaterThan(800 * mib);
    driver.journal.length = 0;
    await fleet.handlers.thaw({ id: 'i-1' as InstanceId });
    expect(journalOf(vm).indexOf(`claimed ${512 * mib}`)).toBeLessThan(journalOf(vm).indexOf('thaw'));
  });
});

describe('faults', () => {
  test('QEMU is killed: its instance is told of with the reason, and another unit takes its place', async () => {
    await open();
    await start('i-1', 128);
    const vm = vmOf('i-1');
    vm.lose('QEMU was ended by SIGKILL');
    await expect
      .poll(exits)
      .toEqual([expect.objectContaining({ id: 'i-1', reason: expect.stringMatching(/was lost.*SIGKILL/) })]);
    await expect.poll(() => driver.vms.has(vm.id)).toBe(false);
    expect((await fleet.handlers.list({})).instances).toEqual([]);
    await start('i-2', 128);
  });

  test('a guest that hangs is noticed by its deadline and lost', async () => {
    await open();
    await start('i-1', 128);
    vmOf('i-1').hung = true;
    await expect
      .poll(exits)
      .toEqual([
        expect.objectContaining({ id: 'i-1', reason: expect.stringMatching(/did not answer within/) }),
      ]);
    expect(told('lost')).toMatchObject([{ happened: { code: 'GuestHung', instances: ['i-1'] } }]);
  });

  test.each([
    ['used none and asked for none', { cpuTicks: 7, wants: false }, true],
    ['waits for the processor', { cpuTicks: 7, wants: true }, false],
  ])('a guest that is silent while its process %s: hung before the deadline is %s', async (_, seen, hung) => {
    activity = seen;
    await open({}, 1, { hungAfterMs: 60_000, standstillMs: 400 });
    await start('i-1', 128);
    vmOf('i-1').hung = true;
    if (hung)
      await expect
        .poll(() => exits().map(({ reason }) => reason))
        .toEqual([expect.stringMatching(/did not answer and its process stood still/)]);
    else {
      await new Promise((resolve) => setTimeout(resolve, 1_200));
      expect(exits()).toEqual([]);
    }
  });

  test('a guest that answers others is slow, not hung', async () => {
    await open();
    await start('i-1', 128);
    const vm = vmOf('i-1');
    vi.spyOn(vm.guest, 'call').mockImplementation(async (name) => {
      if (name === 'readClock') await new Promise((resolve) => setTimeout(resolve, 60));
      throw new BellowsError('Unavailable', 'No answer to readClock.');
    });
    const talking = setInterval(() => vm.emitGuest({ event: 'poolChanged', data: { ready: 1 } }), 5);
    await new Promise((resolve) => setTimeout(resolve, 400));
    clearInterval(talking);
    expect(exits()).toEqual([]);
    expect(driver.vms.has(vm.id)).toBe(true);
    vi.restoreAllMocks();
  });

  test('an agent that is killed inside and comes back has its instances; one that is gone is told of', async () => {
    await open({ sharing: 'tenant' });
    await start('i-1', 128);
    await start('i-2', 128);
    const vm = vmOf('i-1');
    vm.disconnect();
    vm.mock.exit('i-2' as InstanceId, { reason: 'nobody listens' });
    events.length = 0;
    vm.reconnect();
    await expect
      .poll(async () => (await fleet.handlers.list({})).instances.map(({ info }) => info.id))
      .toEqual(['i-1']);
  });

  test('an agent that does not come back in time is lost with its unit', async () => {
    await open();
    await start('i-1', 128);
    vmOf('i-1').disconnect();
    await expect
      .poll(exits)
      .toEqual([expect.objectContaining({ reason: expect.stringMatching(/did not come back/) })]);
  });

  test('with no unit to be had a start waits, and is then told why', async () => {
    driver.failure = new BellowsError('NoRoom', 'The disk with the data directory is full.');
    await open();
    await expect(start('i-1', 128)).rejects.toThrow(
      expect.objectContaining({ code: 'NoRoom', message: expect.stringMatching(/disk.*full/) }),
    );
    const waiting = start('i-2', 128);
    driver.failure = undefined;
    await expect(waiting).resolves.toMatchObject({ outcome: 'started' });
  });

  test('an instance that its guest does not end in time ends with its machine, which is no fault', async () => {
    await open();
    await start('i-1', 128);
    const vm = vmOf('i-1');
    vm.mock.script.next('stop', { do: 'fail', error: new BellowsError('Unavailable', 'No answer.') });
    await fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'it timed out' });
    expect(driver.vms.has(vm.id)).toBe(false);
    expect(exits()).toEqual([expect.objectContaining({ reason: 'it timed out' })]);
    expect(told('lost')).toEqual([]);
    expect(told('stopped')).toMatchObject([{ unit: vm.id, happened: { reason: 'its last instance ended' } }]);
  });

  test('a guest that is slow to end one of several keeps the others: it answers, so it lives', async () => {
    await open({ sharing: 'tenant' });
    await start('i-1', 128);
    await start('i-2', 128);
    const vm = vmOf('i-1');
    const call = vm.guest.call.bind(vm.guest);
    vi.spyOn(vm.guest, 'call').mockImplementation(async (name, params, options) => {
      if (name === 'stop') await new Promise((resolve) => setTimeout(resolve, 200));
      return call(name, params, options);
    });
    await fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    expect(exits().map(({ id }) => id)).toEqual(['i-1']);
    expect((await fleet.handlers.list({})).instances.map(({ info }) => info.id)).toEqual(['i-2']);
    expect(told('lost')).toEqual([]);
  });

  test('a guest that neither ends one of several nor answers anything is lost as hung', async () => {
    await open({ sharing: 'tenant' }, 1, { hungAfterMs: 300 });
    await start('i-1', 128);
    await start('i-2', 128);
    vmOf('i-1').hung = true;
    await fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    await expect.poll(() => exits().map(({ id }) => id)).toEqual(['i-1', 'i-2']);
    expect(told('lost')).toMatchObject([{ happened: { code: 'GuestHung' } }]);
  });

  test('a start whose unit is lost meanwhile is answered with the code of that', async () => {
    await open();
    driver.moveToGroup = async () => {
      for (const vm of driver.all) vm.lose('QEMU was ended by SIGKILL');
    };
    await expect(start('i-1', 128)).rejects.toMatchObject({
      code: 'UnitLost',
      message: expect.stringMatching(/SIGKILL/),
    });
  });

  test('user code that fails while it loads leaves nothing, and its error is answered', async () => {
    await open({}, 0);
    const failed = { errorType: 'Error', errorMessage: 'no such module', trace: [] };
    const starting = fleet.handlers.start(specOf('i-1', 128));
    await expect.poll(() => driver.all.length).toBe(1);
    driver.all[0]?.mock.script.next('start', { do: 'answer', result: { outcome: 'failed', error: failed } });
    expect(await starting).toEqual({ outcome: 'failed', error: failed });
    await expect.poll(() => driver.vms.size).toBe(0);
  });
});

describe('a fleet that comes back', () => {
  test('finds its instances where they are, and gives no tenant’s unit to another', async () => {
    await open();
    const { endpoint } = await start('i-1', 256);
    const vm = vmOf('i-1');
    const left = [...driver.vms];
    await open();
    expect(left.map(([id]) => id)).toContain(vm.id);
    const { instances } = await fleet.handlers.list({});
    expect(instances).toEqual([expect.objectContaining({ endpoint, spec: specOf('i-1', 256) })]);
    await start('i-2', 128, rival);
    expect(vmOf('i-2').id).not.toBe(vm.id);
  });

  test('a unit whose tenant has nothing in it any more is destroyed, not passed on', async () => {
    await open();
    await start('i-1', 256);
    const vm = vmOf('i-1');
    const before = fleet;
    vm.disconnect();
    vm.mock.exit('i-1' as InstanceId, { reason: 'while nobody looked' });
    vm.connected = true;
    await open();
    expect(driver.vms.has(vm.id)).toBe(false);
    await before.close(0);
  });
});

test('what an instance printed outlives its unit', async () => {
  await open();
  await start('i-1', 128);
  vmOf('i-1').lines.push('one', 'two');
  await fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
  const workload = 'acme/chat' as WorkloadKey;
  const { entries } = await fleet.handlers.readLogs({ workload, cursor: null, limit: 10, waitMs: 0 });
  expect(entries.map(({ line }) => line)).toEqual(['one', 'two']);
});

test('what becomes of units is told: made, claimed, ended with the reason', async () => {
  await open();
  await start('i-1', 128);
  const { id } = vmOf('i-1');
  await expect.poll(() => told('claimed').length).toBeGreaterThan(0);
  await fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
  const of = events.flatMap((event) =>
    event.event === 'unit' && event.data.unit === id ? [event.data] : [],
  );
  expect(of.map(({ happened }) => happened.what)).toEqual(['provisioned', 'claimed', 'stopped']);
  expect(of.map(({ tenant }) => tenant)).toEqual([null, expect.anything(), 'acme']);
});

test('a shutdown leaves no unit', async () => {
  await open({}, 2);
  await start('i-1', 128);
  await fleet.handlers.shutdown({ graceMs: 0 });
  expect(told('stopped').map(({ happened }) => happened)).toContainEqual({
    what: 'stopped',
    reason: 'the agent is stopping',
  });
  expect(driver.vms.size).toBe(0);
  await expect(start('i-2', 128)).rejects.toThrow(/stopping/);
});

test('a shutdown does not wait beyond the grace for a guest that says nothing: its machine is ended', async () => {
  const never = { hungAfterMs: 600_000, stopAnswerMs: 600_000, stopSlowMs: 600_000 };
  await open({}, 1, { ...never, closeAnswerMs: 50 });
  await start('i-1', 128);
  vmOf('i-1').hung = true;
  await fleet.handlers.shutdown({ graceMs: 50 });
  expect(driver.vms.size).toBe(0);
});

describe('M-C4 M-C6: a unit that moves to another machine', () => {
  const measured = async (id: string) =>
    (await fleet.handlers.measure({})).units.find((unit) => unit.id === id);
  const busy = async (): Promise<MockVm> => {
    await open();
    await start('i-1', 128);
    return vmOf('i-1');
  };

  test('is the same to everybody but for its process, and nothing of it has ended', async () => {
    const vm = await busy();
    const before = await measured(vm.id);
    const report = await fleet.handlers.move({ unit: vm.id });
    expect(report).toMatchObject({ pauseMs: 1, copiedBytes: 2 });
    expect(report.pid).not.toBe(vm.pid);
    expect(await measured(vm.id)).toEqual({ ...before, pid: report.pid });
    expect((await fleet.handlers.list({})).instances[0]?.info).toMatchObject({ id: 'i-1', state: 'idle' });
    expect(told('moved')).toHaveLength(1);
    expect(told('lost')).toEqual([]);
    expect(exits()).toEqual([]);
    // What is said in the second is heard.
    vmOf('i-1').mock.exit('i-1' as InstanceId, { reason: 'it is over' });
    await expect.poll(exits).toHaveLength(1);
  });

  test('is asked nothing meanwhile, and everything afterwards', async () => {
    const vm = await busy();
    const { promise, resolve } = Promise.withResolvers<void>();
    driver.moving = promise;
    const moving = fleet.handlers.move({ unit: vm.id });
    await expect.poll(async () => (await measured(vm.id))?.state).toBe('bound');
    const asked = vm.mock.calls.length;
    const resizing = resize('i-1', 256);
    const freezing = fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    await new Promise((wait) => setTimeout(wait, 50));
    expect(vm.mock.calls).toHaveLength(asked);
    resolve();
    await Promise.all([moving, resizing, freezing]);
    expect((await fleet.handlers.list({})).instances[0]?.info).toMatchObject({
      state: 'frozen',
      grant: { memory: 256 * mib },
    });
  });

  test('goes on where it is when it can not: without room for both, without a second, on disk', async () => {
    const vm = await busy();
    const refused = (code: string) =>
      expect(fleet.handlers.move({ unit: vm.id })).rejects.toThrow(expect.objectContaining({ code }));
    hostAvailableBytes = 0;
    await refused('NoRoom');
    hostAvailableBytes = 64 * gib;
    driver.failure = new BellowsError('StartFailed', 'No second machine.');
    await refused('StartFailed');
    driver.failure = undefined;
    expect(await measured(vm.id)).toMatchObject({ state: 'bound', pid: vm.pid });
    await resize('i-1', 256);
    await fleet.handlers.hibernate({ unit: vm.id });
    await refused('Conflict');
    expect(vm.resting).toBe(true);
    expect(exits()).toEqual([]);
    expect(told('moved')).toEqual([]);
  });
});

describe('M-C4: a hibernated unit', () => {
  const hibernate = async (): Promise<MockVm> => {
    await open();
    await start('i-1', 128);
    const vm = vmOf('i-1');
    await fleet.handlers.hibernate({ unit: vm.id });
    return vm;
  };
  const listed = async () => (await fleet.handlers.list({})).instances[0]?.info;
  const measured = async (vm: MockVm) =>
    (await fleet.handlers.measure({})).units.find(({ id }) => id === vm.id);

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
    expect(exits()).toEqual([]);
    expect(told('lost')).toEqual([]);
    expect(told('hibernated')).toHaveLength(1);
  });

  test('is left alone by all that happens by itself: pings, logs, measurements, claims, freezing, limits of its tenant', async () => {
    const vm = await hibernate();
    await fleet.handlers.freeze({ id: 'i-1' as InstanceId });
    await fleet.handlers.trim({ id: 'i-1' as InstanceId });
    await fleet.handlers.ensureTenant({ ...acme, memoryBytes: gib });
    await fleet.handlers.resize({ tenants: [{ ...acme, memoryBytes: gib }], instances: [], waitMs: 0 });
    for (let times = 0; times < 5; times += 1) {
      await fleet.handlers.measure({});
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(vm.resting).toBe(true);
    expect(journalOf(vm).at(-1)).toBe('at rest');
  });

  test('wakes when it is asked to, and then knows what its tenant may have now', async () => {
    const vm = await hibernate();
    await fleet.handlers.ensureTenant({ ...acme, memoryBytes: gib });
    await fleet.handlers.wake({ unit: vm.id });
    expect(vm.resting).toBe(false);
    expect(journalOf(vm).slice(journalOf(vm).indexOf('woken'))).toContain('ensureTenant');
    expect(await listed()).toMatchObject({ state: 'idle', grant: { memory: 128 * mib } });
    expect((await measured(vm))?.state).toBe('bound');
    expect(told('woken')).toHaveLength(1);
    await fleet.handlers.wake({ unit: vm.id });
    expect(told('woken')).toHaveLength(1);
  });

  test('wakes when a connection waits for it, when its instance is thawed, and when that is resized', async () => {
    const vm = await hibernate();
    awaited.add(vm.door.host);
    await expect.poll(async () => (await measured(vm))?.state).toBe('bound');
    awaited.clear();
    for (const ask of [() => fleet.handlers.thaw({ id: 'i-1' as InstanceId }), () => resize('i-1', 256)]) {
      await fleet.handlers.hibernate({ unit: vm.id });
      await ask();
      expect((await measured(vm))?.state).toBe('bound');
    }
    expect(told('woken')).toHaveLength(3);
  });

  test('sleeps on where the host has no memory for it, and wakes when there is some and somebody still waits', async () => {
    const vm = await hibernate();
    hostAvailableBytes = 0;
    await expect(fleet.handlers.wake({ unit: vm.id })).rejects.toThrow(
      expect.objectContaining({ code: 'NoRoom' }),
    );
    expect(vm.resting).toBe(true);
    awaited.add(vm.door.host);
    hostAvailableBytes = 64 * gib;
    await expect.poll(async () => (await measured(vm))?.state).toBe('bound');
  });

  test('goes with its instance, and with the fleet, without being woken', async () => {
    const vm = await hibernate();
    await fleet.handlers.stop({ id: 'i-1' as InstanceId, graceMs: 0, reason: 'test' });
    expect(driver.vms.has(vm.id)).toBe(false);
    expect(exits()).toEqual([expect.objectContaining({ id: 'i-1', reason: 'test' })]);
    expect(journalOf(vm)).not.toContain('woken');
    await start('i-2', 128);
    const other = vmOf('i-2');
    await fleet.handlers.hibernate({ unit: other.id });
    await fleet.close(0);
    expect(driver.vms.size).toBe(0);
    expect(journalOf(other)).not.toContain('woken');
  });

  test('is one that somebody is in, and that could be put there: otherwise it goes on', async () => {
    await open();
    const [warm] = driver.all;
    if (warm === undefined) throw new Error('no unit');
    await expect(fleet.handlers.hibernate({ unit: warm.id })).rejects.toThrow(
      expect.objectContaining({ code: 'Conflict' }),
    );
    await start('i-1', 128);
    driver.failure = new BellowsError('NoRoom', 'The disk is full.');
    await expect(fleet.handlers.hibernate({ unit: vmOf('i-1').id })).rejects.toThrow(/disk is full/);
    driver.failure = undefined;
    expect((await measured(vmOf('i-1')))?.state).toBe('bound');
    await resize('i-1', 256);
    expect(exits()).toEqual([]);
  });

  test('is adopted by the next fleet, which wakes it', async () => {
    const vm = await hibernate();
    const left = fleet;
    await open({}, 0);
    expect(vm.resting).toBe(false);
    expect(await listed()).toMatchObject({ id: 'i-1', state: 'idle' });
    await left.close(0);
  });
});
