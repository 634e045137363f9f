// Starts an instance of a function ahead of the call that is expected, where there is room that nobody has to give. Owns which
// expected call was started for. When it is time is src/allocator/arrivals/keeping.ts; that it ends when no call comes is ./scale-in.ts.
import { dueAtMs } from '../../allocator/arrivals/keeping.ts';
import type { Clock } from '../../base/clock.ts';
import type { WorkloadKey } from '../../base/ids.ts';
import type { FunctionWorkload } from '../../model/workload.ts';
import type { Logger } from '../../sys/log.ts';
import { keepAliveIn, type Tuning } from '../config.ts';
import type { CallTimes } from '../demand/call-times.ts';
import type { Places } from '../places.ts';
import { isLive, type ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { OnDemand } from './on-demand.ts';

/** Nobody waits for them yet: they are not to be in the way of starts that somebody waits for. */
const startsAtOnce = 2;

export interface PrewarmerParts {
  readonly desired: DesiredState;
  readonly places: Pick<Places, 'of'>;
  readonly actual: ActualState;
  readonly onDemand: OnDemand;
  readonly callTimes: CallTimes;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
}

export class Prewarmer {
  readonly #parts: PrewarmerParts;
  /** The end of the call after which an instance was started for the next one: once for each. */
  readonly #startedFor = new Map<WorkloadKey, number>();
  readonly #underWay = new Set<WorkloadKey>();

  constructor(parts: PrewarmerParts) {
    this.#parts = parts;
  }

  tick(): void {
    const { desired, places, actual, callTimes, clock, tuning } = this.#parts;
    if (tuning.keepAlive.type === 'fixed') return;
    const nowMs = clock.nowMs();
    for (const key of this.#startedFor.keys())
      if (desired.workload(key) === undefined) this.#startedFor.delete(key);
    const present = new Set(
      actual
        .all()
        .filter(isLive)
        .map(({ spec }) => spec.workload),
    );
    for (const workload of desired.workloads()) {
      if (this.#underWay.size >= startsAtOnce) return;
      const { key } = workload;
      if (workload.kind !== 'function' || present.has(key) || this.#underWay.has(key)) continue;
      const expectation = callTimes.expectation(key, 1);
      const endedMs = expectation?.lastEndedMs ?? null;
      if (endedMs === null || this.#startedFor.get(key) === endedMs) continue;
      const dueMs = dueAtMs(expectation, keepAliveIn(places.of(workload), tuning), nowMs);
      if (dueMs === null || dueMs > nowMs) continue;
      this.#start(workload, endedMs);
    }
  }

  #start(workload: FunctionWorkload, endedMs: number): void {
    const { onDemand, log } = this.#parts;
    const { key } = workload;
    this.#underWay.add(key);
    onDemand
      .startAhead(workload)
      .then((id) => {
        // Without room it is tried again while the call is still expected.
        if (id === undefined) return;
        this.#startedFor.set(key, endedMs);
        log.info({ instance: id, workload: key }, 'instance started ahead of the expected call');
      })
      .catch((thrown: unknown) => {
        this.#startedFor.set(key, endedMs);
        log.info({ err: thrown, workload: key }, 'no instance could be started ahead');
      })
      .finally(() => this.#underWay.delete(key));
  }
}
