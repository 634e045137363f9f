import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { AgentServer } from '../../agent/server.ts';
import { BellowsError } from '../../base/errors.ts';
import { hostUnitId, type InstanceId, type TenantId, type WorkloadKey } from '../../base/ids.ts';
import { gib, mib } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { UnitKind } from '../../model/unit-kind.ts';
import type { AgentProtocol, InstanceSpec, TenantSpec } from '../../protocol/agent.ts';
import type { EventOf } from '../../protocol/rpc.ts';
import { createLogger } from '../../sys/log.ts';
import { unitDriverContract } from '../contract.ts';
import { HostDriver } from '../host/host-driver.ts';
import { MockAgent } from '../mock/mock-agent.ts';
import { callerOf, Router } from './router.ts';

const capacity = { memory: 8 * gib, cpu: 4_000, storage: 100 * gib, bandwidth: 1e9 } as Resources;
/** What the fleet says that there is: less, for it keeps some. */
const less = { ...capacity, memory: 7 * gib } as Resources;
const grant = { memory: 128 * mib, cpu: 1_000, storage: 512 * mib, bandwidth: 1e6 } as Resources;
const acme: TenantSpec = {
  tenant: 'acme' as TenantId,
  uid: 1_900_000_000,
  memoryBytes: 256 * mib,
  cpuMillicores: 2_000,
  weight: 1,
};

function specOf(id: string, unitKind: UnitKind): InstanceSpec {
  return {
    id: id as InstanceId,
    tenant: acme.tenant,
    uid: acme.uid,
    workload: `acme/${id}` as WorkloadKey,
    generation: 'g1',
    unitKind,
    kind: 'app',
    runtime: 'nodejs26.x',
    codeDirectory: '/code',
    handler: null,
    start: 'node server.js',
    timeoutMs: 0,
    env: {},
    network: 'none',
    grant,
    function: null,
  };
}

class Both {
  readonly agents: Readonly<Record<UnitKind, MockAgent>> = {
    host: new MockAgent(capacity),
    vm: new MockAgent(less),
  };
  readonly told: EventOf<AgentProtocol>[] = [];
  /** The fleet resizes when it is through. */
  machinesResize = Promise.resolve();
  readonly router: Router;

  constructor(emit = (_event: EventOf<AgentProtocol>): void => undefined) {
    this.router = this.newRouter(emit);
    for (const kind of ['host', 'vm'] as const)
      this.agents[kind].listen((event) => this.router.onEvent(kind, event));
  }

  newRouter(emit = (_event: EventOf<AgentProtocol>): void => undefined): Router {
    const machines = callerOf(this.agents.vm.handlers);
    return new Router({
      host: callerOf(this.agents.host.handlers),
      machines: {
        call: async (method, params, options) => {
          if (method === 'resize') await this.machinesResize;
          return machines.call(method, params, options);
        },
      },
      emit: (event) => {
        this.told.push(event);
        emit(event);
      },
    });
  }

  idsIn(kind: UnitKind): Promise<InstanceId[]> {
    return this.agents[kind].handlers.list({}).then(({ instances }) => instances.map(({ info }) => info.id));
  }

  /** Of the calls that a part got, those of one method. */
  callsOf(kind: UnitKind, method: string): unknown[] {
    return this.agents[kind].calls.filter((call) => call.method === method).map(({ params }) => params);
  }
}

unitDriverContract('this machine and virtual machines as one', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bellows-both-'));
  const agentSocket = join(directory, 'agent.sock');
  const server = new AgentServer(agentSocket, createLogger('units', 'silent'));
  const both = new Both((event) => server.emit(event));
  await server.listen(both.router.handlers);
  return {
    driver: new HostDriver({ agentSocket, onDefect: () => undefined }),
    id: hostUnitId,
    size: capacity,
    emitPoolChanged: (ready) => both.agents.vm.emit({ event: 'poolChanged', data: { ready } }),
    disconnect: async () => server.close(),
    reconnect: () => server.listen(both.router.handlers),
    remove: async () => {
      server.close();
      rmSync(directory, { recursive: true });
    },
  };
});

describe('this machine’s agent and the fleet as one', () => {
  let both: Both;
  const ours = specOf('i-ours', 'host');
  const theirs = specOf('i-theirs', 'vm');

  beforeEach(async () => {
    both = new Both();
    await both.router.handlers.ensureTenant(acme);
  });

  const specs = { host: ours, vm: theirs };
  /** Below what is in use, where `setInUse` says so. */
  const lowerTenant = () =>
    both.router.handlers.resize({
      tenants: [{ ...acme, memoryBytes: 80 * mib }],
      instances: [],
      waitMs: 0,
    });
  const startBoth = async (): Promise<void> => {
    for (const spec of [ours, theirs]) await both.router.handlers.start(spec);
  };

  test('an instance is started where it is to run, and found there by all that is asked of it', async () => {
    const { handlers } = both.router;
    await startBoth();
    expect(await both.idsIn('host')).toEqual([ours.id]);
    expect(await both.idsIn('vm')).toEqual([theirs.id]);
    for (const { id } of [ours, theirs]) {
      await handlers.freeze({ id });
      await handlers.thaw({ id });
      await handlers.trim({ id });
    }
    for (const [kind, { id }] of [
      ['host', ours],
      ['vm', theirs],
    ] as const)
      for (const method of ['freeze', 'thaw', 'trim'])
        expect(both.callsOf(kind, method)).toEqual([expect.objectContaining({ id })]);
    await handlers.stop({ id: theirs.id, graceMs: 0, reason: 'test' });
    expect(await both.idsIn('host')).toEqual([ours.id]);
    expect(await both.idsIn('vm')).toEqual([]);
  });

  test('who has an instance is found out by one that has just come', async () => {
    await startBoth();
    const { handlers } = both.newRouter();
    await handlers.freeze({ id: theirs.id });
    expect(both.agents.vm.instance(theirs.id).state).toBe('frozen');
    await handlers.freeze({ id: ours.id });
    expect(both.agents.host.instance(ours.id).state).toBe('frozen');
    await expect(handlers.thaw({ id: 'i-nobody' as InstanceId })).rejects.toMatchObject({ code: 'NotFound' });
  });

  test('all that runs is listed and measured together; what the machine has counts once', async () => {
    await startBoth();
    const { handlers } = both.router;
    const { instances } = await handlers.list({});
    expect(instances.map(({ info }) => info.id)).toEqual([ours.id, theirs.id]);
    expect((await handlers.hello({})).capacity).toEqual(less);
    both.agents.host.setInUse(ours.id, 30 * mib);
    both.agents.vm.setInUse(theirs.id, 50 * mib);
    const measured = await handlers.measure({});
    expect(measured.tenants).toEqual([
      expect.objectContaining({
        tenant: 'acme',
        memoryBytes: 80 * mib,
        memoryLimitBytes: acme.memoryBytes,
      }),
    ]);
    const [here, inMachine] = measured.instances;
    expect(here?.limits).toBeDefined();
    // A guest is asked seldom while it stands still.
    expect(inMachine).toMatchObject({ id: theirs.id });
    expect(inMachine?.limits).toBeUndefined();
  });

  test('nothing is said to run while one of both can not be asked', async () => {
    await startBoth();
    both.agents.host.script.always('list', {
      do: 'fail',
      error: new BellowsError('Unavailable', 'It was killed.'),
    });
    await expect(both.router.handlers.list({})).rejects.toMatchObject({ code: 'Unavailable' });
  });

  test('each part resizes its own, and a tenant’s limit holds when it holds in both', async () => {
    await startBoth();
    both.agents.vm.setInUse(theirs.id, 100 * mib);
    const smaller = { ...grant, memory: 64 * mib } as Resources;
    const result = await both.router.handlers.resize({
      tenants: [{ ...acme, memoryBytes: 80 * mib }],
      instances: [ours, theirs].map(({ id }) => ({ id, grant: smaller })),
      waitMs: 0,
    });
    expect(both.agents.host.instance(ours.id).grant.memory).toBe(64 * mib);
    expect(both.agents.vm.instance(theirs.id).grant.memory).toBe(128 * mib);
    expect(result.instances.map(({ instance, changes }) => [instance, changes[0]?.status])).toEqual([
      [ours.id, 'applied'],
      [theirs.id, 'deferred'],
    ]);
    expect(result.tenants).toEqual([
      { tenant: 'acme', changes: [expect.objectContaining({ resource: 'memory', status: 'deferred' })] },
    ]);
  });

  test('a tenant’s limit that both deferred is told as applied when it is in force in both, and not before', async () => {
    await startBoth();
    for (const kind of ['host', 'vm'] as const) both.agents[kind].setInUse(specs[kind].id, 100 * mib);
    both.told.length = 0;
    const { tenants } = await lowerTenant();
    expect(tenants).toMatchObject([
      { tenant: 'acme', changes: [{ resource: 'memory', status: 'deferred' }] },
    ]);
    both.agents.host.setInUse(ours.id, 10 * mib);
    expect(both.told).toEqual([]);
    both.agents.vm.setInUse(theirs.id, 10 * mib);
    expect(both.told).toMatchObject([
      { event: 'applied', data: { tenants: [{ tenant: 'acme', changes: [{ resource: 'memory' }] }] } },
    ]);
  });

  test('what is applied before the other part has answered is told after the answer', async () => {
    await startBoth();
    both.agents.host.setInUse(ours.id, 100 * mib);
    both.told.length = 0;
    const slow = Promise.withResolvers<void>();
    both.machinesResize = slow.promise;
    const resized = lowerTenant();
    await new Promise(setImmediate);
    both.agents.host.setInUse(ours.id, 10 * mib);
    expect(both.told).toEqual([]);
    slow.resolve();
    const { tenants } = await resized;
    expect(tenants).toMatchObject([{ changes: [{ status: 'deferred' }] }]);
    expect(both.told).toEqual([]);
    await new Promise(setImmediate);
    expect(both.told).toMatchObject([{ event: 'applied', data: { tenants: [{ tenant: 'acme' }] } }]);
  });

  test('what a part deferred that has gone is not waited for', async () => {
    await startBoth();
    for (const kind of ['host', 'vm'] as const) both.agents[kind].setInUse(specs[kind].id, 100 * mib);
    await lowerTenant();
    both.told.length = 0;
    both.router.onGone('host');
    both.agents.vm.setInUse(theirs.id, 10 * mib);
    expect(both.told).toMatchObject([{ event: 'applied' }]);
  });

  test('a part that a resize does not concern is not asked', async () => {
    await startBoth();
    await both.router.handlers.resize({ tenants: [], instances: [{ id: ours.id, grant }], waitMs: 0 });
    expect(both.callsOf('vm', 'resize')).toEqual([]);
    expect(both.callsOf('host', 'resize')).toHaveLength(1);
  });

  test('what either tells is told on, but that memory is short on the host once', async () => {
    await startBoth();
    both.told.length = 0;
    const shortage = { availableBytes: 1, stalledMicros: 1, why: 'test' };
    for (const kind of ['host', 'vm'] as const) {
      both.agents[kind].emit({ event: 'hostPressure', data: shortage });
      both.agents[kind].exit(kind === 'host' ? ours.id : theirs.id, { reason: kind });
    }
    expect(both.told.map(({ event }) => event)).toEqual(['exited', 'hostPressure', 'exited']);
  });

  test('the tail of a log is that of who had the instance', async () => {
    const asked = {
      id: theirs.id,
      invocation: {
        requestId: 'r',
        durationMs: 1,
        cause: { kind: 'timedOut' as const, timeoutMs: 1 },
      },
    };
    both.agents.vm.script.always('logBroken', { do: 'answer', result: { tail: 'theirs' } });
    expect(await both.router.handlers.logBroken(asked)).toEqual({ tail: 'theirs' });
    both.agents.host.script.always('logBroken', { do: 'answer', result: { tail: 'ours' } });
    both.agents.vm.script.always('logBroken', null);
    expect(await both.router.handlers.logBroken(asked)).toEqual({ tail: 'ours' });
  });

  test('one that can not end its instances does not keep the other from it, and that is told', async () => {
    await startBoth();
    both.agents.host.script.always('shutdown', {
      do: 'fail',
      error: new BellowsError('Unavailable', 'It was killed.'),
    });
    await expect(both.router.handlers.shutdown({ graceMs: 0 })).rejects.toMatchObject({
      code: 'Unavailable',
    });
    expect(await both.idsIn('vm')).toEqual([]);
  });

  test('a tenant’s processes and machines go with it, unless either has an instance of it', async () => {
    await both.router.handlers.start(theirs);
    await expect(both.router.handlers.removeTenant({ tenant: acme.tenant })).rejects.toMatchObject({
      code: 'Conflict',
    });
    await both.router.handlers.stop({ id: theirs.id, graceMs: 0, reason: 'test' });
    await both.router.handlers.removeTenant({ tenant: acme.tenant });
    expect(both.callsOf('host', 'removeTenant')).toHaveLength(2);
  });
});
