// The fleet: serves AgentProtocol over virtual machines instead of over this machine's own processes, so that whoever calls
// an agent does not notice. Owns what each call does with the fleet's parts (running.ts), and the time before there are any.
import { BrokenInvocations } from '../../agent/instances/broken-invocations.ts';
import { LogStore } from '../../agent/logs/log-store.ts';
import { groupOfTenant, rootGroup } from '../../agent/groups.ts';
import { within } from '../../agent/resize/within.ts';
import type { Clock } from '../../base/clock.ts';
import { BellowsError, messageOf } from '../../base/errors.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Resources } from '../../model/resources.ts';
import {
  agentProtocolVersion,
  type AgentCapabilities,
  type AgentProtocol,
  type TenantSpec,
} from '../../protocol/agent.ts';
import type { EventOf, Handlers, ResultOf } from '../../protocol/rpc.ts';
import { hostMemory } from '../../sys/host-memory.ts';
import { layoutOf, type Layout } from '../../sys/layout.ts';
import type { Logger } from '../../sys/log.ts';
import { awaitedAddresses } from '../../sys/tcp-table.ts';
import { processActivity } from '../../sys/process-activity.ts';
import { assumedCapabilities } from './capabilities.ts';
import { defaultTuning, type FleetConfig, type FleetTuning } from './config.ts';
import { GuestLogs } from './guest-logs.ts';
import { UnitRecords } from './records.ts';
import type { Resident } from './residents.ts';
import { Running, type Machinery } from './running.ts';
import type { StartResult } from './starts.ts';
import { stopInside } from './stop-inside.ts';
import { UnitCode } from './unit-code.ts';

export interface FleetOptions {
  readonly config: Pick<FleetConfig, 'dataDirectory' | 'units'>;
  /** Where what instances print is kept; the data directory's place for it when absent. */
  readonly logsDirectory?: string;
  /** All that instances may be granted together. */
  readonly capacity: Resources;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning?: Partial<FleetTuning>;
  readonly code?: UnitCode;
  readonly activityOf?: typeof processActivity;
  readonly hostAvailableBytes?: () => number;
  readonly awaited?: typeof awaitedAddresses;
  readonly emit: (event: EventOf<AgentProtocol>) => void;
}

const thawTimeoutMs = 4_000;

export class Fleet {
  readonly handlers: Handlers<AgentProtocol>;
  readonly #options: FleetOptions;
  readonly #tuning: FleetTuning;
  readonly #layout: Layout;
  readonly #records: UnitRecords;
  readonly #logs: LogStore;
  readonly #broken: BrokenInvocations;
  readonly #tenants = new Map<TenantId, TenantSpec>();
  readonly #opened = Promise.withResolvers<Running>();
  #running: Running | undefined;
  #capabilities: AgentCapabilities = assumedCapabilities;
  #poolSize = 0;
  #preparing = 'they are being prepared';
  readonly #stops = new Map<InstanceId, Promise<void>>();
  #closing: Promise<void> | undefined;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#tuning = { ...defaultTuning, ...options.tuning };
    const { config, clock, log } = options;
    this.#layout = layoutOf(config.dataDirectory);
    this.#records = new UnitRecords(config.dataDirectory);
    this.#logs = new LogStore(options.logsDirectory ?? this.#layout.logs, clock, (error) =>
      log.error({ err: error }, 'log lines can not be written'),
    );
    this.#broken = new BrokenInvocations(this.#logs, clock);
    this.handlers = this.#handlers();
    // Nobody may be waiting when it fails.
    this.#opened.promise.catch(() => undefined);
  }

  /** What is being done before there can be units, or why it can not be; told to whoever can not wait. */
  preparing(what: string): void {
    this.#preparing = what;
  }

  /** Whether there can be units, and those of an earlier fleet are its own. */
  get isOpen(): boolean {
    return this.#running !== undefined;
  }

  /** Takes over what an earlier fleet left, and begins to make units. @throws BellowsError Unavailable once it was closed */
  async open(machinery: Machinery): Promise<void> {
    if (this.#closing !== undefined) throw stopping();
    const { config, clock, log, emit, code = new UnitCode(), activityOf = processActivity } = this.#options;
    const { hostAvailableBytes = () => hostMemory().memoryAvailableBytes, awaited = awaitedAddresses } =
      this.#options;
    const running = new Running(machinery, {
      config,
      layout: this.#layout,
      records: this.#records,
      logs: new GuestLogs(this.#logs, this.#records, log),
      broken: this.#broken,
      code,
      tenants: this.#tenants,
      clock,
      log,
      tuning: this.#tuning,
      activityOf,
      hostAvailableBytes,
      awaited,
      emit,
      onCapabilities: (capabilities) => (this.#capabilities = capabilities),
    });
    await running.roster.adopt(machinery.left);
    this.#running = running;
    for (const spec of this.#tenants.values()) await running.resizer.limitOnHost(spec);
    running.pool.setSize(this.#poolSize);
    this.#opened.resolve(running);
  }

  /** Ends every instance and unit and leaves nothing. Safe to call again. */
  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    const running = this.#running;
    if (running === undefined) {
      this.#opened.reject(stopping());
      return;
    }
    const { roster, residents, pool, resizer, hibernation, cgroup, driver } = running;
    hibernation.close();
    pool.close();
    resizer.close();
    const reason = 'the agent is stopping';
    const end = (): Promise<unknown> => Promise.all(roster.all().map((unit) => roster.destroy(unit, reason)));
    const stopped = Promise.all(residents.list().map(({ info }) => this.#stop(info.id, graceMs, reason)));
    // No longer: with its machine ends what is in it, and whoever stops Bellows leaves machines behind when this takes too long.
    await within(graceMs + this.#tuning.closeAnswerMs, stopped);
    await end();
    // What is just being made, a template for example, may take long: without its processes it ends at once.
    await cgroup.kill(rootGroup);
    await pool.idle();
    await end();
    await driver.close();
    await cgroup.remove(rootGroup);
  }

  #handlers(): Handlers<AgentProtocol> {
    const done = {};
    return {
      hello: async () => ({
        protocolVersion: agentProtocolVersion,
        pid: process.pid,
        capabilities: this.#capabilities,
        capacity: this.#options.capacity,
      }),
      ensureTenant: async (spec) => {
        await this.#ensureTenant(spec);
        return done;
      },
      removeTenant: async ({ tenant }) => {
        await this.#removeTenant(tenant);
        return done;
      },
      setPool: async ({ size }) => {
        this.#poolSize = Math.min(size, this.#options.config.units.poolMaximum);
        this.#running?.pool.setSize(this.#poolSize);
        return done;
      },
      start: async (spec) => {
        const running = await this.#whenRunning();
        if (this.#closing !== undefined) throw stopping();
        const found = running.residents.find(spec.id);
        return (found && started(found)) ?? running.starts.start(spec);
      },
      stop: async ({ id, graceMs, reason }) => {
        await this.#stop(id, graceMs, reason);
        return done;
      },
      freeze: async ({ id }) => {
        const { unit } = this.#resident(id);
        // It stands still already, and is thawed with its unit.
        if (unit.resting) return done;
        unit.freezing(id);
        await unit.guest.call('freeze', { id });
        unit.frozen(id);
        return done;
      },
      thaw: async ({ id }) => {
        const { unit, placed } = this.#resident(id);
        await unit.wake();
        // First the memory, then the code that needs it.
        if (placed.info?.promised !== undefined) await unit.givenBack(id, placed.info.promised.memory);
        await unit.awake(id);
        await unit.guest.call('thaw', { id }, { timeoutMs: thawTimeoutMs });
        return done;
      },
      resize: async (request) => {
        if (this.#running !== undefined) return this.#running.resizer.apply(request);
        for (const spec of request.tenants) this.#tenants.set(spec.tenant, spec);
        return { tenants: [], instances: [] };
      },
      trim: ({ id }) => this.#trim(id),
      list: async () => ({
        instances: this.#running?.residents.list() ?? [],
        poolReady: this.#running?.pool.ready ?? 0,
      }),
      measure: async () => {
        if (this.#running !== undefined) return this.#running.meter.measure(this.#running.roster.all());
        const pool = { ready: 0, memoryBytes: 0 };
        const nobody = { instances: [], tenants: [], pool, units: [] };
        return { atMs: this.#options.clock.nowMs(), ...nobody, host: hostMemory() };
      },
      hibernate: async ({ unit, why, carriedPackets }) => {
        const running = await this.#whenRunning();
        return running.hibernation.hibernate(running.unit(unit), why, carriedPackets);
      },
      wake: async ({ unit }) => {
        const running = await this.#whenRunning();
        return running.hibernation.wake(running.unit(unit), 'it was asked to');
      },
      move: async ({ unit }) => {
        const running = await this.#whenRunning();
        return running.moves.move(running.unit(unit));
      },
      readLogs: ({ workload, cursor, limit, waitMs }) => this.#logs.read(workload, cursor, limit, waitMs),
      logBroken: async ({ id, invocation }) => {
        const exists = this.#running?.residents.find(id) !== undefined;
        return { tail: await this.#broken.tell(id, invocation, exists) };
      },
      tunnels: async ({ id, ...told }) => {
        const unit = this.#running?.residents.find(id)?.unit;
        if (unit === undefined) return done;
        // An agent that is new is told by every gateway, and nobody is woken for that.
        await this.#running?.hibernation.whenAwake(unit, `tunnels ${id} ${told.gateway}`, async () => {
          await unit.guest.call('tunnels', { id, ...told });
        });
        return done;
      },
      removeLogs: async ({ workload }) => {
        this.#broken.forget(workload);
        await this.#logs.remove(workload);
        return done;
      },
      shutdown: async ({ graceMs }) => {
        await this.close(graceMs);
        return done;
      },
    };
  }

  /** Frees inside, and claims what is free then: it is the host's when this is answered. */
  async #trim(id: InstanceId): Promise<ResultOf<AgentProtocol['methods']['trim']>> {
    const { unit, placed } = this.#resident(id);
    if (unit.resting) return { beforeBytes: 0, afterBytes: 0, unit: { claimedBytes: 0 } };
    const trimmed = await unit.guest.call('trim', { id }).catch((thrown: unknown) => {
      // A program that is too slow to collect its garbage keeps it; what is free beside it can be claimed all the same.
      this.#options.log.warn(
        { err: thrown, unit: unit.id, instance: id },
        'an instance could not be trimmed',
      );
      const usedBytes = placed.usage?.memoryBytes ?? 0;
      return { beforeBytes: usedBytes, afterBytes: usedBytes };
    });
    const before = unit.vm.claimed.memory;
    await within(this.#tuning.reclaimWaitMs, unit.reclaim('what is not in use was asked for'));
    return { ...trimmed, unit: { claimedBytes: Math.max(0, unit.vm.claimed.memory - before) } };
  }

  /** Asking again joins: who asks may be willing to wait for less time than a slow guest takes. */
  #stop(id: InstanceId, graceMs: number, reason: string): Promise<void> {
    const known = this.#stops.get(id);
    if (known !== undefined) return known;
    const stop = this.#stopOnce(id, graceMs, reason).finally(() => this.#stops.delete(id));
    this.#stops.set(id, stop);
    return stop;
  }

  async #stopOnce(id: InstanceId, graceMs: number, reason: string): Promise<void> {
    const running = this.#running;
    const found = running?.residents.find(id);
    if (running === undefined || found === undefined) return;
    const { unit, placed } = found;
    const isAlone = (): boolean => unit.placed.size === 1;
    const exit = { id, workload: placed.spec.workload, code: null, signal: null, oomKilled: false, reason };
    // Nothing of it runs: it ends with its machine's files.
    if (unit.resting && isAlone()) {
      await running.residents.ended(unit, exit);
      return;
    }
    try {
      await unit.wake();
      // What it holds is given back, but its end does not wait long for that.
      await within(this.#tuning.stopAnswerMs, unit.awake(id));
      const by = await stopInside(unit.guest, { id, graceMs, reason }, isAlone, this.#tuning);
      if (by === 'machine')
        this.#options.log.warn(
          { unit: unit.id, instance: id },
          'a guest was slow to end its instance: the unit ends with it',
        );
    } catch (thrown) {
      const loss = thrown instanceof BellowsError ? thrown : new BellowsError('UnitLost', messageOf(thrown));
      await running.roster.lose(unit, loss);
      return;
    }
    // One that is still on its way in is ended by whoever began it, once that is answered.
    if (running.starts.isUnderWay(id)) return;
    await running.residents.ended(unit, exit);
  }

  async #ensureTenant(spec: TenantSpec): Promise<void> {
    this.#tenants.set(spec.tenant, spec);
    if (this.#running === undefined) return;
    const { residents, resizer } = this.#running;
    const units = residents.unitsOf(spec.tenant).filter(({ connected }) => connected);
    await resizer.limitOnHost(spec);
    await Promise.all(units.map((unit) => unit.tenants.ensure(spec)));
  }

  async #removeTenant(tenant: TenantId): Promise<void> {
    if (this.#running !== undefined) {
      const { residents, cgroup } = this.#running;
      if (residents.unitsOf(tenant).length > 0)
        throw new BellowsError('Conflict', `Tenant ${tenant} still has instances.`, 'Stop them first.');
      await cgroup.remove(groupOfTenant(tenant));
    }
    this.#tenants.delete(tenant);
  }

  /** @throws BellowsError NotFound */
  #resident(id: InstanceId): Resident {
    const found = this.#running?.residents.find(id);
    if (found === undefined) throw new BellowsError('NotFound', `There is no instance ${id} in any unit.`);
    return found;
  }

  /** @throws BellowsError NotReady when there can be no units within the time that a start has */
  async #whenRunning(): Promise<Running> {
    if (this.#running !== undefined) return this.#running;
    const late = Promise.withResolvers<never>();
    const tooLate = (): void =>
      late.reject(
        new BellowsError(
          'NotReady',
          `There are no virtual machines yet: ${this.#preparing}.`,
          'Try again in a moment; bellows doctor says what is missing.',
        ),
      );
    const timer = setTimeout(tooLate, this.#tuning.acquireTimeoutMs);
    try {
      return await Promise.race([this.#opened.promise, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}

function stopping(): BellowsError {
  return new BellowsError('Unavailable', 'The agent is stopping.');
}

/** Whoever asks twice, after a lost answer, does not start twice. Undefined for one that does not serve yet. */
function started({ placed: { info, endpoint }, unit }: Resident): StartResult | undefined {
  if (info === null || endpoint === null) return undefined;
  const instance = { ...info, unit: unit.id, connections: { ...info.connections } };
  return { outcome: 'started', instance, pooled: false, durationMs: 0, endpoint };
}
