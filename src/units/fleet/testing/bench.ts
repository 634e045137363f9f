// A fleet over machines that are not there, with what it did and told, and what the host is made to say. Its times are short.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { CgroupNone } from '../../../agent/cgroup/none.ts';
import { systemClock } from '../../../base/clock.ts';
import type { InstanceId, TenantId, WorkloadKey } from '../../../base/ids.ts';
import { gib, mib } from '../../../base/quantity.ts';
import type { Resources } from '../../../model/resources.ts';
import type { AgentProtocol, InstanceSpec, ResizeResult } from '../../../protocol/agent.ts';
import type { EventOf } from '../../../protocol/rpc.ts';
import type { UnitEvent } from '../../../protocol/unit.ts';
import type { ProcessActivity } from '../../../sys/process-activity.ts';
import { MockVmDriver, type MockVm } from '../../mock/mock-vm-driver.ts';
import type { FleetConfig, FleetTuning } from '../config.ts';
import { Fleet } from '../fleet.ts';
import { UnitCode } from '../unit-code.ts';

const size = { memory: gib, cpu: 2000, storage: gib, bandwidth: 1e8 } as Resources;
export const grantOf = (memoryMib: number): Resources =>
  ({ memory: memoryMib * mib, cpu: 500, storage: 128 * mib, bandwidth: 1e7 }) as Resources;
export const acme = { tenant: 'acme' as TenantId, uid: 1, memoryBytes: null, cpuMillicores: null, weight: 1 };
export const rival = { ...acme, tenant: 'rival' as TenantId, uid: 2 };
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

export class FleetBench {
  readonly driver = new MockVmDriver();
  /** What the fleet told. */
  readonly events: EventOf<AgentProtocol>[] = [];
  /** Hashes of the code that was sent into machines. */
  readonly sent: string[] = [];
  /** What the kernel is made to say of every unit's process. */
  activity: ProcessActivity | undefined;
  hostAvailableBytes = 64 * gib;
  /** Addresses that connections of this machine wait for. */
  readonly awaited = new Set<string>();
  cgroup = new CgroupNone();
  readonly #directory = mkdtempSync(join(tmpdir(), 'bellows-fleet-'));
  #fleet: Fleet | undefined;

  /** The one that was opened last. */
  get fleet(): Fleet {
    if (this.#fleet === undefined) throw new Error('no fleet is open');
    return this.#fleet;
  }

  async close(): Promise<void> {
    await this.#fleet?.close(0);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Of units, by fleets before: whom they served, and who is in them. */
  removeRecords(): void {
    rmSync(join(this.#directory, 'fleet'), { recursive: true });
  }

  /** A second time: the next fleet finds what the one before left. */
  async open(
    units: Partial<FleetConfig['units']> = {},
    pool = 1,
    tuning: Partial<FleetTuning> = {},
  ): Promise<void> {
    const config = {
      dataDirectory: this.#directory,
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
    const { driver } = this;
    const fleet = new Fleet({
      config,
      capacity: size,
      clock: systemClock,
      log: pino({ level: 'silent' }),
      tuning: { ...quick, ...tuning },
      code: new UnitCode(async (_, { sha256 }) => void this.sent.push(sha256)),
      activityOf: () => this.activity,
      hostAvailableBytes: () => this.hostAvailableBytes,
      awaited: async (addresses) => new Set(addresses.filter((address) => this.awaited.has(address))),
      emit: (event) => this.events.push(event),
    });
    this.#fleet = fleet;
    await fleet.handlers.setPool({ size: pool });
    this.cgroup = new CgroupNone();
    await fleet.open({ driver, cgroup: this.cgroup, left: await driver.open(), startsAtOnce: 2 });
    for (const tenant of [acme, rival]) await fleet.handlers.ensureTenant(tenant);
  }

  specOf(id: string, memoryMib: number, of = acme): InstanceSpec {
    return {
      id: id as InstanceId,
      tenant: of.tenant,
      uid: of.uid,
      workload: `${of.tenant}/chat` as WorkloadKey,
      generation: 'g1',
      kind: 'app',
      runtime: 'nodejs26.x',
      codeDirectory: `${this.#directory}/code/${of.tenant}/${'a'.repeat(64)}`,
      handler: null,
      start: 'node server.js',
      timeoutMs: 1_000,
      env: {},
      network: 'host',
      grant: grantOf(memoryMib),
      function: null,
    };
  }

  async start(id: string, memoryMib: number, of = acme) {
    const result = await this.fleet.handlers.start(this.specOf(id, memoryMib, of));
    if (result.outcome !== 'started') throw new Error('it did not start');
    return result;
  }

  resize(id: string, memoryMib: number): Promise<ResizeResult> {
    return this.fleet.handlers.resize({
      tenants: [],
      instances: [{ id: id as InstanceId, grant: grantOf(memoryMib) }],
      waitMs: 0,
    });
  }

  /** The machine that an instance is in. */
  vmOf(id: string): MockVm {
    const found = this.driver.all.find(({ mock }) => {
      try {
        return mock.instance(id as InstanceId) !== undefined;
      } catch {
        return false;
      }
    });
    if (found === undefined) throw new Error(`no unit has ${id}`);
    return found;
  }

  /** Of units, of one kind. */
  told(what: UnitEvent['happened']['what']): UnitEvent[] {
    return this.events.flatMap((event) =>
      event.event === 'unit' && event.data.happened.what === what ? [event.data] : [],
    );
  }

  exits() {
    return this.events.flatMap((event) => (event.event === 'exited' ? [event.data] : []));
  }

  /** What was done to a unit. */
  journalOf(vm: MockVm): string[] {
    return this.driver.journal
      .filter((entry) => entry.startsWith(vm.id))
      .map((entry) => entry.slice(vm.id.length + 1));
  }
}
