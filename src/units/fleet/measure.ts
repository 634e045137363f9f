// What is used now, over all units: instances by their guests' kernels, units by the host's own accounting. Reads, decides
// nothing. A guest that does not answer in time is shown as it was.
import type { Clock } from '../../base/clock.ts';
import type { TenantId } from '../../base/ids.ts';
import type { AgentProtocol, UnitMeasure } from '../../protocol/agent.ts';
import type { ResultOf } from '../../protocol/rpc.ts';
import type { VmDriver } from '../vm/port.ts';
import { hostMemory } from './host-memory.ts';
import type { FleetUnit } from './unit.ts';

type Measurement = ResultOf<AgentProtocol['methods']['measure']>;

/** Within the controller's own 2 s for all of it. */
const guestTimeoutMs = 1_200;

export class Meter {
  readonly #driver: VmDriver;
  readonly #clock: Clock;
  readonly #last = new WeakMap<FleetUnit, Measurement>();

  constructor(driver: VmDriver, clock: Clock) {
    this.#driver = driver;
    this.#clock = clock;
  }

  async measure(units: readonly FleetUnit[]): Promise<Measurement> {
    const bound = units.filter((unit) => unit.placed.size > 0);
    const inside = await Promise.all(bound.map((unit) => this.#ask(unit)));
    const measures = units.flatMap((unit) => this.#unit(unit) ?? []);
    const warm = measures.filter(({ state }) => state === 'warm');
    return {
      atMs: this.#clock.nowMs(),
      instances: inside.flatMap((each) => each?.instances ?? []),
      tenants: sumByTenant(inside.flatMap((each) => each?.tenants ?? [])),
      pool: {
        ready: warm.length,
        memoryBytes: warm.reduce((sum, { hostPrivateBytes }) => sum + hostPrivateBytes, 0),
      },
      host: hostMemory(),
      units: measures,
    };
  }

  async #ask(unit: FleetUnit): Promise<Measurement | undefined> {
    try {
      const measured = await unit.vm.guest.call('measure', {}, { timeoutMs: guestTimeoutMs });
      this.#last.set(unit, measured);
      for (const { id, usage } of measured.instances) {
        const placed = unit.placed.get(id);
        if (placed !== undefined) placed.usage = usage;
      }
      return measured;
    } catch {
      return this.#last.get(unit);
    }
  }

  /** Undefined for one whose process ended this moment. */
  #unit(unit: FleetUnit): UnitMeasure | undefined {
    try {
      return { ...this.#driver.measure(unit.vm), state: unit.state, tenant: unit.tenant };
    } catch {
      return undefined;
    }
  }
}

function sumByTenant(parts: Measurement['tenants']): Measurement['tenants'] {
  const sums = new Map<TenantId, Measurement['tenants'][number]>();
  for (const part of parts) {
    const sum = sums.get(part.tenant);
    sums.set(
      part.tenant,
      sum === undefined
        ? part
        : {
            ...sum,
            memoryBytes: sum.memoryBytes + part.memoryBytes,
            cpuUsageMicros: sum.cpuUsageMicros + part.cpuUsageMicros,
          },
    );
  }
  return [...sums.values()];
}
