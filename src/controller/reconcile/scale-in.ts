// Ends functions' instances that nothing has used for long. Owns what is known of their use, from the gateways' reports;
// for how long is src/allocator/arrivals/keeping.ts.
import { mayEndAtMs } from '../../allocator/arrivals/keeping.ts';
import type { Clock } from '../../base/clock.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { Logger } from '../../sys/log.ts';
import { keepAliveIn, type Tuning } from '../config.ts';
import type { CallTimes } from '../demand/call-times.ts';
import type { Traffic } from '../routes/traffic.ts';
import { isLive, unitKindOf, type ActualState, type Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { Stopper } from './stopper.ts';

/** Gateways report traffic every second while there is any: an older report says nothing of now. */
const trafficFreshMs = 3_000;

export interface ScaleInParts {
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly stopper: Stopper;
  readonly callTimes: CallTimes;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
}

export class ScaleIn {
  readonly #parts: ScaleInParts;
  readonly #busy = new Map<WorkloadKey, { readonly instances: number; readonly atMs: number }>();

  constructor(parts: ScaleInParts) {
    this.#parts = parts;
  }

  /** A gateway says that an instance serves nothing, and since when; null: that it serves again. */
  onIdle(id: InstanceId, sinceMs: number | null): void {
    const { actual, clock } = this.#parts;
    const tracked = actual.get(id);
    if (tracked?.life.phase !== 'serving') return;
    actual.set({ ...tracked, idle: sinceMs !== null, lastUsedMs: sinceMs ?? clock.nowMs() });
  }

  onTraffic(traffic: Traffic): void {
    const atMs = this.#parts.clock.nowMs();
    for (const { workload, busyInstances } of traffic)
      this.#busy.set(workload, { instances: busyInstances, atMs });
  }

  /** A gateway came, and nothing is known of what the one before it had in use: everything counts as used just now. */
  onGateway(): void {
    const { actual, clock } = this.#parts;
    for (const tracked of actual.all()) {
      if (tracked.life.phase === 'serving' && tracked.spec.kind === 'function')
        actual.set({ ...tracked, idle: true, lastUsedMs: clock.nowMs() });
    }
  }

  tick(): void {
    const { desired, actual } = this.#parts;
    for (const key of this.#busy.keys()) if (desired.workload(key) === undefined) this.#busy.delete(key);
    const serving = new Map<WorkloadKey, Tracked[]>();
    for (const tracked of actual.all()) {
      const { spec, life } = tracked;
      if (spec.kind !== 'function' || life.phase !== 'serving') continue;
      const known = serving.get(spec.workload);
      if (known === undefined) serving.set(spec.workload, [tracked]);
      else known.push(tracked);
    }
    for (const [key, instances] of serving)
      if (desired.workload(key)?.kind === 'function') this.#endIdle(key, instances);
  }

  #endIdle(key: WorkloadKey, serving: readonly Tracked[]): void {
    const { actual, callTimes, clock, tuning } = this.#parts;
    const nowMs = clock.nowMs();
    // Who was used last is used next.
    const idle = serving
      .filter((tracked) => tracked.idle)
      .sort((a, b) => b.lastUsedMs - a.lastUsedMs || (a.spec.id < b.spec.id ? -1 : 1));
    const report = this.#busy.get(key);
    const reported = report !== undefined && nowMs - report.atMs <= trafficFreshMs ? report.instances : 0;
    const busy = Math.max(reported, serving.length - idle.length);
    const isOnly = actual.ofWorkload(key).filter(isLive).length === 1;
    // Some that are noted as idle may be in use again: the most recently used ones.
    const maybeIdle = idle.length + busy - serving.length;
    for (const [at, tracked] of idle.slice(maybeIdle).entries()) {
      const { spec, lastUsedMs } = tracked;
      const depth = busy + at + 1;
      const expectation = callTimes.expectation(key, depth);
      const instance = { idleSinceMs: lastUsedMs, depth, isOnly };
      const keepAlive = keepAliveIn(unitKindOf(tracked), tuning);
      if (mayEndAtMs(instance, expectation, keepAlive, nowMs) <= nowMs) this.#end(spec.id);
    }
  }

  #end(id: InstanceId): void {
    const { stopper, log } = this.#parts;
    stopper
      .retire(id, 'it was idle for long')
      .catch((thrown: unknown) =>
        log.error({ err: thrown, instance: id }, 'an idle instance could not be retired'),
      );
  }
}
