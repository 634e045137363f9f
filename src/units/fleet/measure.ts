// What is used now, over all units: instances by their guests' kernels, units by the host's own accounting. Reads, decides
// nothing. A guest that does not answer in time is shown as it was, and
// so is one that stands still.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../base/clock.ts';
import type { TenantId } from '../../base/ids.ts';
import type { AgentProtocol } from '../../protocol/agent.ts';
import type { UnitMeasure } from '../../protocol/unit.ts';
import type { ResultOf } from '../../protocol/rpc.ts';
import { hostMemory } from '../../sys/host-memory.ts';
import type { VmDriver } from '../vm/port.ts';
import type { FleetUnit } from './unit.ts';

type Measurement = ResultOf<AgentProtocol['methods']['measure']>;

/** Within the controller's own 2 s for all of it. */
const guestTimeoutMs = 1_200;

/** An answer that comes after that is kept for the next measurement, within this; a guest that hangs is not ours to notice. */
const lateAnswerMs = 30_000;

/**
 * A unit in which everything is frozen is asked so seldom: under emulation an answer costs 3 % of a processor a second, and
 * there may be hundreds. As often as it is pinged.
 */
const stillForMs = 10_000;

interface Asked {
  readonly atMs: number;
  readonly measured: Measurement;
}

export class Meter {
  readonly #driver: VmDriver;
  readonly #clock: Clock;
  readonly #last = new WeakMap<FleetUnit, Asked>();
  /** Units whose answer is awaited, maybe since an earlier measurement: a slow guest is not asked twice. */
  readonly #awaited = new WeakSet<FleetUnit>();

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
    const last = this.#last.get(unit);
    if (unit.resting) return last === undefined ? undefined : atRest(last.measured);
    if (unit.away !== null) return last?.measured;
    const isFresh = last !== undefined && unit.still && this.#clock.monotonicMs() - last.atMs < stillForMs;
    if (isFresh || this.#awaited.has(unit)) return last?.measured;
    this.#awaited.add(unit);
    const answer = this.#answerOf(unit).finally(() => this.#awaited.delete(unit));
    const late = sleep(guestTimeoutMs, last?.measured, { ref: false });
    return Promise.race([answer.catch(() => last?.measured), late]);
  }

  /** What comes late is for the next measurement. @throws BellowsError when the guest does not answer */
  async #answerOf(unit: FleetUnit): Promise<Measurement> {
    const wasStill = unit.still;
    const measured = await unit.vm.guest.call('measure', {}, { timeoutMs: lateAnswerMs });
    // One that froze meanwhile was measured while it ran, and is measured once more.
    const atMs = wasStill ? this.#clock.monotonicMs() : -Infinity;
    this.#last.set(unit, { atMs, measured });
    for (const { id, usage } of measured.instances) {
      const placed = unit.placed.get(id);
      if (placed !== undefined) placed.usage = usage;
    }
    return measured;
  }

  /** Undefined for one whose process ended this moment. */
  #unit(unit: FleetUnit): UnitMeasure | undefined {
    try {
      const measured = this.#driver.measure(unit.vm);
      const { provisioned, claimed } = measured;
      // All of it is the host's but the disk.
      const all = { ...provisioned, storage: claimed.storage };
      const { state, tenant } = unit;
      return { ...measured, claimed: state === 'hibernated' ? all : claimed, state, tenant };
    } catch {
      return undefined;
    }
  }
}

/** What it was, but for memory: it has none. */
function atRest({ instances, tenants, ...rest }: Measurement): Measurement {
  return {
    ...rest,
    instances: instances.map((each) => ({
      ...each,
      usage: { ...each.usage, memoryBytes: 0, workingSetBytes: 0 },
    })),
    tenants: tenants.map((each) => ({ ...each, memoryBytes: 0 })),
  };
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
