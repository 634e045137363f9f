// When each function is called, from the gateways' reports: how long to keep its idle instances, and when to have one ready.
// Owns how many of its instances work, by the last report. What was learned is ./memories.ts, the rule
// src/allocator/arrivals.
import type { Expectation } from '../../allocator/arrivals/keeping.ts';
import type { Clock } from '../../base/clock.ts';
import type { WorkloadKey } from '../../base/ids.ts';
import type { Traffic } from '../routes/traffic.ts';
import type { Memories } from './memories.ts';

export class CallTimes {
  readonly #memories: Memories;
  readonly #clock: Clock;
  /** How many instances of a function work; none where it says nothing. */
  readonly #busy = new Map<WorkloadKey, number>();

  constructor(memories: Memories, clock: Clock) {
    this.#memories = memories;
    this.#clock = clock;
  }

  onTraffic(traffic: Traffic): void {
    const nowMs = this.#clock.nowMs();
    for (const { workload, busyInstances, calls } of traffic) {
      if (calls === undefined) continue;
      this.#move(workload, calls.most, calls.calledAtMs ?? nowMs);
      this.#move(workload, busyInstances, calls.endedAtMs ?? nowMs);
    }
    // Removed while they worked: nothing will be said of them any more.
    for (const key of this.#busy.keys()) if (this.#memories.find(key) === undefined) this.#busy.delete(key);
  }

  /** Another gateway, or another controller: what ran then has ended for all that is known. */
  onGateway(): void {
    const nowMs = this.#clock.nowMs();
    for (const workload of this.#busy.keys()) this.#move(workload, 0, nowMs);
  }

  /**
   * For the instance that is used when `depth` are. Undefined while nothing is known.
   * @param depth 1 for the one that a call goes to when nothing else runs
   */
  expectation(workload: WorkloadKey, depth: number): Expectation | undefined {
    const memory = this.#memories.find(workload);
    if (memory === undefined) return undefined;
    const { arrivals, knownSinceMs } = memory;
    return {
      windows: arrivals.windows(depth, this.#clock.nowMs()),
      lastEndedMs: arrivals.lastEndedMs,
      knownSinceMs,
    };
  }

  #move(workload: WorkloadKey, busy: number, atMs: number): void {
    let present = this.#busy.get(workload) ?? 0;
    const arrivals = present === busy ? undefined : this.#memories.change(workload)?.arrivals;
    if (arrivals === undefined) return;
    for (; present < busy; present += 1) arrivals.called(present, atMs);
    for (; present > busy; present -= 1) arrivals.ended(atMs);
    if (busy === 0) this.#busy.delete(workload);
    else this.#busy.set(workload, busy);
  }
}
