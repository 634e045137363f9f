// The parts of a fleet that there are once virtual machines can be made, put together. Owns how they know of each other,
// and what a guest's events mean to them.
import type { BrokenInvocations } from '../../agent/instances/broken-invocations.ts';
import type { Cgroup } from '../../agent/cgroup/port.ts';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { TenantId, UnitId } from '../../base/ids.ts';
import type { AgentCapabilities, AgentProtocol, TenantSpec } from '../../protocol/agent.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { EventOf } from '../../protocol/rpc.ts';
import type { Layout } from '../../sys/layout.ts';
import type { Logger } from '../../sys/log.ts';
import type { ProcessActivity } from '../../sys/process-activity.ts';
import type { UnitHandle } from '../port.ts';
import type { VmDriver } from '../vm/port.ts';
import type { FleetConfig, FleetTuning } from './config.ts';
import type { GuestLogs } from './guest-logs.ts';
import { Hibernation } from './hibernation.ts';
import { Meter } from './measure.ts';
import { Moves } from './moves.ts';
import type { UnitRecords } from './records.ts';
import { Residents } from './residents.ts';
import { Resizer } from './resizer.ts';
import { Roster } from './roster.ts';
import { Starts } from './starts.ts';
import { limitTenant } from './tenant-group.ts';
import { Turns } from './turns.ts';
import type { FleetUnit } from './unit.ts';
import type { UnitCode } from './unit-code.ts';
import { WarmPool } from './warm-pool.ts';

/** What a fleet needs that takes time to have: a driver with its image, and the units of an earlier fleet. */
export interface Machinery {
  readonly driver: VmDriver;
  readonly cgroup: Cgroup;
  readonly left: readonly UnitHandle[];
  /** How many instances start at once without making each other late. */
  readonly startsAtOnce: number;
}

export interface RunningContext {
  readonly config: Pick<FleetConfig, 'dataDirectory' | 'units'>;
  readonly layout: Layout;
  readonly records: UnitRecords;
  readonly logs: GuestLogs;
  readonly broken: BrokenInvocations;
  readonly code: UnitCode;
  readonly tenants: Map<TenantId, TenantSpec>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: FleetTuning;
  /** What the kernel knows of a unit's process. */
  readonly activityOf: (pid: number) => ProcessActivity | undefined;
  /** Memory that the host could give now, by the kernel's word. */
  readonly hostAvailableBytes: () => number;
  /** Of addresses, those that connections of this machine wait for. */
  readonly awaited: (addresses: readonly string[]) => Promise<ReadonlySet<string>>;
  readonly emit: (event: EventOf<AgentProtocol>) => void;
  /** What a new unit's agent says that it enforces. */
  readonly onCapabilities: (capabilities: AgentCapabilities) => void;
}

/** One unbound process waits in every warm unit: its start is most of an instance's. */
const warmProcesses = 1;

export class Running {
  readonly driver: VmDriver;
  readonly cgroup: Cgroup;
  readonly roster: Roster;
  readonly residents: Residents;
  readonly pool: WarmPool;
  readonly starts: Starts;
  readonly resizer: Resizer;
  readonly meter: Meter;
  readonly hibernation: Hibernation;
  readonly moves: Moves;
  readonly #context: RunningContext;

  constructor({ driver, cgroup, startsAtOnce }: Machinery, context: RunningContext) {
    this.#context = context;
    this.driver = driver;
    this.cgroup = cgroup;
    const { config, layout, records, logs, broken, code, tenants, clock, log, tuning, emit } = context;
    const { activityOf, hostAvailableBytes } = context;
    const units = (): FleetUnit[] => this.roster.all();
    this.meter = new Meter(driver, clock);
    this.roster = new Roster({
      driver,
      size: config.units.size,
      records,
      cpuLimitOf: (tenant) => tenants.get(tenant)?.cpuMillicores ?? null,
      clock,
      log,
      tuning,
      listener: {
        onGuestEvent: (unit, event) => this.#onGuestEvent(unit, event),
        onListed: (unit, listed) => this.residents.listed(unit, listed),
        onLost: (unit, loss) => this.residents.lost(unit, loss),
      },
      hibernation: () => this.hibernation,
      activityOf,
      tell: (event) => emit({ event: 'unit', data: event }),
    });
    this.pool = new WarmPool({
      provision: () => this.#provision(),
      warm: () => units().filter(({ state }) => state === 'warm'),
      busy: () => this.starts.busy,
      hostAvailableBytes,
      clock,
      log,
      tuning,
      onChange: (ready) => emit({ event: 'poolChanged', data: { ready } }),
    });
    this.residents = new Residents({
      units,
      layout,
      logs,
      broken,
      tuning,
      isStarting: (id) => this.starts.isUnderWay(id),
      destroy: async (unit) => {
        await this.roster.destroy(unit, 'its last instance ended');
        this.pool.wake();
      },
      emit,
      log,
    });
    this.hibernation = new Hibernation({
      driver,
      rejoin: (unit, vm) => this.roster.rejoin(unit, vm),
      lose: (unit, loss) => this.roster.loseSoon(unit, loss),
      records,
      onChange: (unit) => {
        for (const { info } of unit.placed.values()) if (info !== null) this.residents.changed(unit, info);
      },
      drainLogs: async (unit) => {
        const workloads = new Set([...unit.placed.values()].map(({ spec }) => spec.workload));
        for (const workload of workloads) await logs.drain(unit, workload, tuning.lastLogsMs);
      },
      tenant: (id) => tenants.get(id),
      awaited: context.awaited,
      hostAvailableBytes,
      clock,
      log,
      tuning,
      tell: (unit, happened) => this.roster.tell(unit, happened),
    });
    this.moves = new Moves({
      driver,
      inTurn: (unit, work) => this.hibernation.inTurn(unit, work),
      rejoin: (unit, vm) => this.roster.rejoin(unit, vm),
      tenant: (id) => tenants.get(id),
      hostAvailableBytes,
      clock,
      log,
      tuning,
      tell: (unit, happened) => this.roster.tell(unit, happened),
    });
    this.starts = new Starts({
      driver,
      cgroup,
      units,
      pool: this.pool,
      code,
      records,
      sharing: config.units.sharing,
      size: config.units.size,
      turns: new Turns(startsAtOnce, tuning.startTurnMs),
      tenant: (id) => tenants.get(id),
      clock,
      log,
      tuning,
      onStarted: (unit, { spec }) => logs.follow(unit, spec.workload),
      onIdle: () => this.pool.fill(),
      onFailed: (unit, { id }) => this.residents.startFailed(unit, id),
    });
    this.resizer = new Resizer({
      find: (id) => this.residents.find(id),
      unitsOf: (tenant) => this.residents.unitsOf(tenant),
      replaceTenant: (spec) => {
        const before = tenants.get(spec.tenant);
        tenants.set(spec.tenant, spec);
        return before;
      },
      limitTenant: (spec) => limitTenant(cgroup, spec),
      hostAvailableBytes,
      onApplied: (result) => emit({ event: 'applied', data: result }),
      clock,
      log,
      tuning,
    });
  }

  /** @throws BellowsError NotFound */
  unit(id: UnitId): FleetUnit {
    const found = this.roster.all().find((unit) => unit.id === id);
    if (found === undefined) throw new BellowsError('NotFound', `There is no virtual machine ${id}.`);
    return found;
  }

  /** One more warm unit, with a process that waits in it. */
  async #provision(): Promise<FleetUnit> {
    const unit = await this.roster.provision();
    const { capabilities } = await unit.guest.call('hello', {});
    this.#context.onCapabilities(capabilities);
    await unit.guest.call('setPool', { size: warmProcesses });
    // Not waited for: whoever comes before that is served all the same.
    void unit.ready();
    return unit;
  }

  #onGuestEvent(unit: FleetUnit, event: EventOf<GuestProtocol>): void {
    const { log, emit } = this.#context;
    switch (event.event) {
      case 'instance':
        this.residents.changed(unit, event.data);
        return;
      case 'exited':
        this.residents
          .ended(unit, event.data)
          .catch((thrown: unknown) =>
            log.error({ err: thrown, instance: event.data.id }, 'an instance could not be ended completely'),
          );
        return;
      case 'applied':
        this.resizer.follow(unit, event.data);
        emit({ event: 'applied', data: event.data });
        return;
      case 'givenBack':
        this.residents.givenBack(unit, event.data);
        return;
      case 'strained':
        emit({ event: 'strained', data: event.data });
        return;
      case 'reachable':
        // A connection into a machine does not end with the machine, so what waits in one could not be told from what began.
        return;
      case 'poolChanged':
      case 'unit':
      case 'hostPressure':
        // Of the processes inside; how many units are warm, and what becomes of them, is the fleet's own to tell.
        return;
      case 'pressure':
        unit
          .releaseEverything(event.data.why)
          .catch((thrown: unknown) =>
            log.error({ err: thrown, unit: unit.id }, 'an emergency release went wrong'),
          );
        return;
    }
  }
}
