// Units that go on in another machine. Owns when one may: its calls are held back meanwhile, and the host has room for both.
// What happens to the machines is the driver's matter, and that connections into them stay.
//
//   bound ──move──▶ moving ──in the second, or as before──▶ bound
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
import { checkMayRest } from './hibernation.ts';
import type { FleetUnit } from './unit.ts';

export type Moved = ResultOf<AgentProtocol['methods']['move']>;

export interface MovesParts {
  readonly driver: VmDriver;
  /** One thing after another for each unit: it is not hibernated or woken meanwhile. */
  readonly inTurn: <T>(unit: FleetUnit, work: () => Promise<T>) => Promise<T>;
  /** It is this machine now: watches it, and takes over what it has. */
  readonly rejoin: (unit: FleetUnit, vm: VmUnit) => Promise<void>;
  readonly tenant: (id: TenantId) => TenantSpec | undefined;
  readonly hostAvailableBytes: () => number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Pick<FleetTuning, 'hostReserveBytes'>;
  readonly tell: (unit: FleetUnit, happened: UnitEvent['happened']) => void;
}

export class Moves {
  readonly #parts: MovesParts;

  constructor(parts: MovesParts) {
    this.#parts = parts;
  }

  /** @throws BellowsError Conflict, NotSupportedHere; NoRoom, StartFailed, Unavailable: it goes on where it is */
  move(unit: FleetUnit): Promise<Moved> {
    return this.#parts.inTurn(unit, () => this.#move(unit));
  }

  async #move(unit: FleetUnit): Promise<Moved> {
    const { rejoin, tenant, clock, log, tell } = this.#parts;
    const startedMs = clock.monotonicMs();
    this.#check(unit);
    const moved = await unit
      .alone(async () => {
        // Somebody may have come meanwhile; from here on nobody does.
        this.#check(unit);
        unit.away = 'moving';
        unit.connected = false;
        return this.#parts.driver.move(unit.vm);
      })
      .catch(async (thrown: unknown) => {
        // What it said meanwhile was not heeded.
        if (unit.away !== null && !unit.stopping) await rejoin(unit, unit.vm);
        throw thrown;
      });
    await rejoin(unit, moved.unit);
    // What became of them meanwhile.
    const tenants = new Set([...unit.placed.values()].map(({ spec }) => spec.tenant));
    for (const spec of [...tenants].flatMap((id) => tenant(id) ?? [])) await unit.tenants.ensure(spec);
    const { pauseMs, copiedBytes } = moved;
    const durationMs = clock.monotonicMs() - startedMs;
    const report = { pid: unit.vm.pid, pauseMs, copiedBytes, durationMs };
    log.info({ unit: unit.id, ...report }, 'a unit has moved');
    tell(unit, { what: 'moved', ...report });
    return report;
  }

  /** @throws BellowsError */
  #check(unit: FleetUnit): void {
    const { driver, hostAvailableBytes, tuning } = this.#parts;
    if (unit.resting)
      throw new BellowsError(
        'Conflict',
        `The unit ${unit.id} is hibernated.`,
        'Wake it first: bellows wake.',
      );
    checkMayRest(unit);
    const { hostPrivateBytes } = driver.measure(unit.vm);
    const spareBytes = hostAvailableBytes() - tuning.hostReserveBytes;
    if (spareBytes < hostPrivateBytes)
      throw new BellowsError(
        'NoRoom',
        `The unit ${unit.id} needs ${humanBytes(hostPrivateBytes)} twice while it moves, and the host can give ${humanBytes(Math.max(0, spareBytes))} more.`,
        'Hibernate or end what is not needed, or take idle memory back: bellows reclaim.',
      );
  }
}
