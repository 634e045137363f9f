// How much of what it was granted each instance used lately, and when it last ran code. Owns that memory; a sample comes in with
// each tick. Whom reclaim asks because of it is src/allocator/reclaim/victims.ts.
import type { InstanceId } from '../../base/ids.ts';
import type { Sample } from '../measures.ts';
import { knownOf, type ActualState } from '../state/actual.ts';

/** Half of what is remembered is of the last half minute: as long as a person looks at a page, or thinks before the next call. */
const halfLifeMs = 30_000;
/** One per cent of a processor: the timers of a server that nobody talks to take less. */
const quietMillicores = 10;
/** Over so long: a timer that fires once in some seconds is no work, though in its own second it is more, in an emulated machine above all. */
const quietSpanMs = 10_000;
/** What takes more than that between two looks is work, and not to be waited for. */
const busyMillicores = 100;

interface Look {
  readonly atMs: number;
  readonly cpuUsageMicros: number;
}

interface Recent extends Look {
  /** Where the span begins that is being looked at. */
  readonly from: Look;
  /** Average part of the granted memory that was in its working set. */
  readonly share: number;
  readonly busyAtMs: number;
}

export class RecentUse {
  readonly #recent = new Map<InstanceId, Recent>();

  note(sample: Sample, actual: Pick<ActualState, 'get'>, nowMs: number): void {
    const seen = new Set<InstanceId>();
    for (const { id, usage } of sample.instances) {
      const tracked = actual.get(id);
      const grant = tracked === undefined ? undefined : knownOf(tracked)?.info.grant.memory;
      if (grant === undefined || grant === 0) continue;
      seen.add(id);
      const share = usage.workingSetBytes / grant;
      const before = this.#recent.get(id);
      const elapsedMs = before === undefined ? 0 : nowMs - before.atMs;
      const kept = before === undefined ? 0 : 0.5 ** (elapsedMs / halfLifeMs);
      const look: Look = { atMs: nowMs, cpuUsageMicros: usage.cpuUsageMicros };
      const isWhole = before !== undefined && nowMs - before.from.atMs >= quietSpanMs;
      const isBusy =
        before !== undefined &&
        (millicores(before, look) > busyMillicores ||
          (isWhole && millicores(before.from, look) > quietMillicores));
      this.#recent.set(id, {
        ...look,
        from: before === undefined || isWhole ? look : before.from,
        share: kept * (before?.share ?? 0) + (1 - kept) * share,
        // One that is seen for the first time may just have run.
        busyAtMs: isBusy || before === undefined ? nowMs : before.busyAtMs,
      });
    }
    for (const id of this.#recent.keys()) if (!seen.has(id)) this.#recent.delete(id);
  }

  /** Of its granted memory; 1 while nothing is known of it. */
  shareOf(id: InstanceId): number {
    return this.#recent.get(id)?.share ?? 1;
  }

  /** When it last ran code, as far as processor time tells; undefined while nothing is known. */
  busyAtMs(id: InstanceId): number | undefined {
    return this.#recent.get(id)?.busyAtMs;
  }
}

/** Microseconds per millisecond are millicores. */
function millicores(from: Look, to: Look): number {
  return (to.cpuUsageMicros - from.cpuUsageMicros) / Math.max(1, to.atMs - from.atMs);
}
