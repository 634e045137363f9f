// In which virtual machines nothing happens, and for how long: none of their instances runs code or has something to answer, and
// nothing went into them or came out. Owns that memory; samples and gateways' reports come in. Who is put on disk for it is
// ./sleeper.ts and ../reclaim.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, UnitId, WorkloadKey } from '../../base/ids.ts';
import type { Sample } from '../measures.ts';
import type { Traffic } from '../routes/traffic.ts';
import { seenOf, type ActualState, type Tracked } from '../state/actual.ts';

export interface QuietMachinesParts {
  readonly actual: Pick<ActualState, 'all'>;
  /** For how long an instance hardly ran, and nothing went through it by the gateways' word. */
  readonly quietMs: (id: InstanceId) => number;
  readonly clock: Clock;
}

export interface QuietMachine {
  readonly unit: UnitId;
  readonly quietMs: number;
  /** By the last sample: with more than that by now, it is not quiet any more. */
  readonly carriedPackets: number;
}

interface Still {
  readonly carriedPackets: number;
  /** By the agent's clock. One that just woke begins anew, or it would sleep again at once. */
  readonly sinceMs: number;
}

export class QuietMachines {
  readonly #parts: QuietMachinesParts;
  #sampledAtMs = 0;
  /** Of machines that are awake with somebody in them, and could be put on disk. */
  #still: ReadonlyMap<UnitId, Still> = new Map();
  /** When an app last had a request whose answer had not ended. */
  readonly #answeringAtMs = new Map<WorkloadKey, number>();

  constructor(parts: QuietMachinesParts) {
    this.#parts = parts;
  }

  note({ atMs, units }: Sample): void {
    this.#sampledAtMs = atMs;
    this.#still = new Map(
      units.flatMap(({ id, state, mayHibernate, carriedPackets }): [UnitId, Still][] => {
        if (state !== 'bound' || !mayHibernate || carriedPackets === null) return [];
        const before = this.#still.get(id);
        return [[id, before?.carriedPackets === carriedPackets ? before : { carriedPackets, sinceMs: atMs }]];
      }),
    );
    const workloads = new Set(this.#parts.actual.all().map(({ spec }) => spec.workload));
    for (const key of this.#answeringAtMs.keys()) if (!workloads.has(key)) this.#answeringAtMs.delete(key);
  }

  onTraffic(traffic: Traffic): void {
    const nowMs = this.#parts.clock.nowMs();
    for (const { workload, openRequests = 0 } of traffic)
      if (openRequests > 0) this.#answeringAtMs.set(workload, nowMs);
  }

  /** Those that have been quiet for so long, the longest first. */
  quietFor(leastMs: number): QuietMachine[] {
    const residents = Map.groupBy(this.#parts.actual.all(), (tracked) => seenOf(tracked)?.unit);
    return [...this.#still]
      .map(([unit, { carriedPackets, sinceMs }]): QuietMachine => {
        const inside = residents.get(unit) ?? [];
        const quietMs = Math.min(
          this.#sampledAtMs - sinceMs,
          ...(inside.length === 0 ? [-1] : inside.map((tracked) => this.#quietMs(tracked))),
        );
        return { unit, quietMs, carriedPackets };
      })
      .filter(({ quietMs }) => quietMs >= leastMs)
      .sort((a, b) => b.quietMs - a.quietMs);
  }

  /** It is not awake any more, whatever the last sample says. */
  forget(unit: UnitId): void {
    this.#still = new Map([...this.#still].filter(([id]) => id !== unit));
  }

  /** Negative while it is in use. */
  #quietMs({ spec, life, idle, lastUsedMs }: Tracked): number {
    const { quietMs, clock } = this.#parts;
    if (life.phase !== 'serving') return -1;
    const nowMs = clock.nowMs();
    if (spec.kind === 'function') return idle ? Math.min(quietMs(spec.id), nowMs - lastUsedMs) : -1;
    return Math.min(quietMs(spec.id), nowMs - (this.#answeringAtMs.get(spec.workload) ?? 0));
  }
}
