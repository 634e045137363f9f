// Units whose instances stand still on disk. Owns putting them there and waking them: on request, when somebody asks one
// something, and when this machine's TCP waits for one. What happens to the machine itself is the driver's matter.
//
//   bound ──hibernate──▶ hibernated ──asked, or a connection waits──▶ bound
//     ▲         │             ▲                     │
//     └─failed──┘             └──────── failed ─────┤
//                                                   └──▶ lost, when it had begun to run
//
// Connections stay: the unit's address is, and what is sent to it meanwhile is kept and sent again by the sender's kernel.
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { TenantId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { AgentProtocol, TenantSpec } from '../../protocol/agent.ts';
import type { UnitEvent } from '../../protocol/unit.ts';
import type { ResultOf } from '../../protocol/rpc.ts';
import type { Logger } from '../../sys/log.ts';
import type { VmDriver, VmUnit } from '../vm/port.ts';
import type { FleetTuning } from './config.ts';
import type { UnitRecords } from './records.ts';
import type { FleetUnit } from './unit.ts';

export type Hibernated = ResultOf<AgentProtocol['methods']['hibernate']>;
export type Woken = ResultOf<AgentProtocol['methods']['wake']>;

export interface HibernationParts {
  readonly driver: VmDriver;
  /** It runs again, as this machine: watches it, and takes over what it has. */
  readonly rejoin: (unit: FleetUnit, vm: VmUnit) => Promise<void>;
  /** It ran again, and could not go on. Not waited for: its end waits for what is under way with it. */
  readonly lose: (unit: FleetUnit, loss: BellowsError) => void;
  /** Its instances stand still, or do not any more. */
  readonly onChange: (unit: FleetUnit) => void;
  readonly records: Pick<UnitRecords, 'update'>;
  /** Reads the last lines of what its instances have printed. */
  readonly drainLogs: (unit: FleetUnit) => Promise<void>;
  readonly tenant: (id: TenantId) => TenantSpec | undefined;
  /** Of addresses, those that connections of this machine wait for. */
  readonly awaited: (addresses: readonly string[]) => Promise<ReadonlySet<string>>;
  readonly hostAvailableBytes: () => number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Pick<FleetTuning, 'hostReserveBytes' | 'knockMs' | 'wakeRetryMs'>;
  readonly tell: (unit: FleetUnit, happened: UnitEvent['happened']) => void;
}

interface Asleep {
  /** What it takes of the host's memory when it runs again. */
  readonly neededBytes: number;
  /** By the monotonic clock: not tried before, for it failed a moment ago. */
  retryAtMs: number;
}

export class Hibernation {
  readonly #parts: HibernationParts;
  readonly #asleep = new Map<FleetUnit, Asleep>();
  /** What one that rests is told when it is awake. */
  readonly #kept = new WeakMap<FleetUnit, Map<string, () => Promise<void>>>();
  /** One thing after another for each unit. */
  readonly #turns = new WeakMap<FleetUnit, Promise<unknown>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: HibernationParts) {
    this.#parts = parts;
  }

  /**
   * @param carriedPackets only while it has carried no more than that; undefined: whatever
   * @throws BellowsError Conflict, NotSupportedHere; NoRoom, Unavailable: it goes on then
   */
  hibernate(unit: FleetUnit, why: string, carriedPackets?: number): Promise<Hibernated> {
    return this.inTurn(unit, () => this.#hibernate(unit, why, carriedPackets));
  }

  /**
   * Nothing happens to one that runs.
   * @throws BellowsError NoRoom, StartFailed, Unavailable: it stays as it is then; UnitLost: it had begun to run, and goes
   */
  wake(unit: FleetUnit, why: string): Promise<Woken> {
    return this.inTurn(unit, () => this.#wake(unit, why));
  }

  /** At once with a unit that runs, later with one that rests, which is not woken for it; of those with one key the last counts. */
  async whenAwake(unit: FleetUnit, key: string, tell: () => Promise<void>): Promise<void> {
    const kept = this.#kept.get(unit) ?? new Map<string, () => Promise<void>>();
    this.#kept.set(unit, kept);
    kept.delete(key);
    if (unit.resting) kept.set(key, tell);
    else await tell();
  }

  /** An earlier fleet put it there. */
  found(unit: FleetUnit, neededBytes: number): void {
    unit.away = 'hibernated';
    unit.connected = false;
    this.#asleep.set(unit, { neededBytes, retryAtMs: 0 });
    this.#listen();
  }

  /** Resolves when nothing is under way with the unit. */
  async settled(unit: FleetUnit): Promise<void> {
    await this.#turns.get(unit)?.catch(() => undefined);
  }

  /** It goes. */
  forget(unit: FleetUnit): void {
    this.#asleep.delete(unit);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#asleep.clear();
  }

  /** Does something with the unit when nothing else is under way with it: it may be hibernated by then. */
  inTurn<T>(unit: FleetUnit, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(unit) ?? Promise.resolve();
    const next = before.catch(() => undefined).then(work);
    this.#turns.set(unit, next);
    return next;
  }

  async #hibernate(unit: FleetUnit, why: string, carriedPackets?: number): Promise<Hibernated> {
    const { driver, records, drainLogs, onChange, rejoin, clock, log, tell } = this.#parts;
    if (unit.resting) throw new BellowsError('Conflict', `The unit ${unit.id} is hibernated already.`);
    checkMayRest(unit);
    const startedMs = clock.monotonicMs();
    await drainLogs(unit);
    const [before, after] = await unit
      .alone(async () => {
        const { instances: listed } = await unit.guest.call('list', {});
        // Somebody may have come meanwhile; from here on nobody does. Whoever has started by now was listed.
        checkMayRest(unit);
        unit.away = 'hibernated';
        unit.connected = false;
        const awake = driver.measure(unit.vm);
        // Whoever comes after us has nobody to ask.
        records.update(unit.id, { asleep: { listed, neededBytes: awake.hostPrivateBytes } });
        try {
          await driver.snapshot(unit.vm, carriedPackets);
        } catch (thrown) {
          unit.away = null;
          records.update(unit.id, { asleep: null });
          throw thrown;
        }
        return [awake, driver.measure(unit.vm)] as const;
      })
      .catch(async (thrown: unknown) => {
        // What it said meanwhile was not heeded.
        if (!unit.connected && !unit.stopping) await rejoin(unit, unit.vm);
        throw thrown;
      });
    this.#asleep.set(unit, { neededBytes: before.hostPrivateBytes, retryAtMs: 0 });
    onChange(unit);
    this.#listen();
    const durationMs = clock.monotonicMs() - startedMs;
    const storedBytes = Math.max(0, after.hostStorageBytes - before.hostStorageBytes);
    const bytes = { beforeBytes: before.hostPrivateBytes, afterBytes: after.hostPrivateBytes, storedBytes };
    log.info({ unit: unit.id, why, ...bytes, durationMs }, 'a unit is hibernated');
    tell(unit, { what: 'hibernated', why, ...bytes, durationMs });
    return { ...bytes, durationMs };
  }

  async #wake(unit: FleetUnit, why: string): Promise<Woken> {
    const { driver, records, rejoin, lose, onChange, tenant, hostAvailableBytes } = this.#parts;
    const { tuning, clock, log, tell } = this.#parts;
    if (!unit.resting) return { durationMs: 0 };
    if (unit.stopping) throw new BellowsError('Unavailable', `The unit ${unit.id} is being ended.`);
    const asleep = this.#asleep.get(unit);
    const startedMs = clock.monotonicMs();
    try {
      const spareBytes = hostAvailableBytes() - tuning.hostReserveBytes;
      if (asleep !== undefined && spareBytes < asleep.neededBytes)
        throw new BellowsError(
          'NoRoom',
          `The unit ${unit.id} needs ${humanBytes(asleep.neededBytes)} to wake, and the host can give ${humanBytes(Math.max(0, spareBytes))}.`,
          'It is tried again while somebody waits for it. Hibernate or end what is not needed.',
        );
      await rejoin(unit, await driver.adopt(unit.vm.handle));
    } catch (thrown) {
      if (asleep !== undefined) asleep.retryAtMs = clock.monotonicMs() + tuning.wakeRetryMs;
      if (thrown instanceof BellowsError && thrown.code === 'UnitLost') lose(unit, thrown);
      throw thrown;
    }
    this.#asleep.delete(unit);
    records.update(unit.id, { asleep: null });
    // What became of them meanwhile.
    const tenants = new Set([...unit.placed.values()].map(({ spec }) => spec.tenant));
    for (const spec of [...tenants].flatMap((id) => tenant(id) ?? [])) await unit.tenants.ensure(spec);
    for (const [key, tell] of this.#kept.get(unit) ?? []) {
      this.#kept.get(unit)?.delete(key);
      await tell().catch((thrown: unknown) =>
        log.warn({ err: thrown, unit: unit.id }, 'a unit that woke could not be told what it had missed'),
      );
    }
    onChange(unit);
    const durationMs = clock.monotonicMs() - startedMs;
    log.info({ unit: unit.id, pid: unit.vm.pid, why, durationMs }, 'a unit is awake again');
    tell(unit, { what: 'woken', why, durationMs });
    return { durationMs };
  }

  /** Looks for connections that wait, as long as there is anybody whom they could wait for. */
  #listen(): void {
    clearTimeout(this.#timer);
    if (this.#asleep.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#look()
        .catch((thrown: unknown) =>
          this.#parts.log.error({ err: thrown }, 'connections could not be looked at'),
        )
        .finally(() => this.#listen());
    }, this.#parts.tuning.knockMs).unref();
  }

  async #look(): Promise<void> {
    const { awaited, clock, log } = this.#parts;
    const nowMs = clock.monotonicMs();
    const units = [...this.#asleep].flatMap(([unit, { retryAtMs }]) => (retryAtMs <= nowMs ? [unit] : []));
    if (units.length === 0) return;
    const found = await awaited(units.map(({ vm }) => vm.door.host));
    for (const unit of units)
      if (found.has(unit.vm.door.host))
        this.wake(unit, 'a connection waits for it').catch((thrown: unknown) =>
          log.warn({ err: thrown, unit: unit.id }, 'a unit that is waited for could not wake'),
        );
  }
}

/** Whether it can stand still now with all that is in it. @throws BellowsError */
export function checkMayRest(unit: FleetUnit): void {
  const { id, vm, placed, connected, stopping } = unit;
  if (stopping || !connected) throw new BellowsError('Unavailable', `The unit ${id} can not be reached now.`);
  if (!vm.outlivedByConnections)
    throw new BellowsError(
      'NotSupportedHere',
      `Connections into the unit ${id} would end with its process.`,
      'Run Bellows as root: machines have addresses of their own then.',
    );
  if (placed.size === 0)
    throw new BellowsError(
      'Conflict',
      `Nothing runs in the unit ${id}: it waits for somebody, or is about to go.`,
    );
  if ([...placed.values()].some(({ info }) => info === null))
    throw new BellowsError(
      'Conflict',
      `An instance is just starting in the unit ${id}.`,
      'Try again in a moment.',
    );
}
