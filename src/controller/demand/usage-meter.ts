// What every instance used lately, from the kernel's counters and the gateway's: rates between two samples, and since when
// nothing happens. Owns one sample an instance. What it means is ./demands.ts.
import { measuredUse, type UsageSample } from '../../allocator/demand/demand.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { ResourceKind } from '../../model/resources.ts';
import type { Sample } from '../measures.ts';
import { isQuiet } from './activity.ts';

/** Rates over less than this say more about the kernel's clock ticks than about the code. */
const rateWindowMs = 500;

export interface Use {
  /** In base units: levels as of the last sample, rates between the last two. */
  readonly used: Readonly<Record<ResourceKind, number>>;
  /** Since when it hardly runs and carries nothing, by the agent's clock; null while it does. */
  readonly quietSinceMs: number | null;
  readonly sample: UsageSample;
}

export class UsageMeter {
  readonly #uses = new Map<InstanceId, Use>();
  readonly #carried = new Map<InstanceId, number>();

  /** Since the first sample of it: undefined when there was none. */
  of(id: InstanceId): Use | undefined {
    return this.#uses.get(id);
  }

  /** For how long, as of the last sample, it has hardly run and carried nothing. */
  quietMs(id: InstanceId): number {
    const use = this.#uses.get(id);
    return use === undefined || use.quietSinceMs === null ? 0 : use.sample.atMs - use.quietSinceMs;
  }

  /** Bytes went through it, in the direction that had more. */
  carried(id: InstanceId, bytes: number): void {
    this.#carried.set(id, (this.#carried.get(id) ?? 0) + bytes);
  }

  /** @returns those of which there is a new figure; an instance that is not in the sample is forgotten */
  measured(sample: Sample): Map<InstanceId, Use> {
    const changed = new Map<InstanceId, Use>();
    const present = new Set<InstanceId>();
    for (const { id, usage, storageBytes } of sample.instances) {
      present.add(id);
      const after: UsageSample = {
        atMs: sample.atMs,
        workingSetBytes: usage.workingSetBytes,
        cpuUsageMicros: usage.cpuUsageMicros,
        cpuThrottledMicros: usage.cpuThrottledMicros,
        storageBytes: storageBytes ?? 0,
        bandwidthBytes: this.#carried.get(id) ?? 0,
      };
      const before = this.#uses.get(id);
      if (before !== undefined && after.atMs - before.sample.atMs < rateWindowMs) continue;
      // Nothing is known of the time before its first sample: then it is as good as at work.
      const used = measuredUse(before?.sample ?? after, after);
      const isStill = before !== undefined && isQuiet(used);
      const use = {
        used,
        quietSinceMs: isStill ? (before.quietSinceMs ?? before.sample.atMs) : null,
        sample: after,
      };
      this.#uses.set(id, use);
      changed.set(id, use);
    }
    for (const id of this.#uses.keys()) if (!present.has(id)) this.#uses.delete(id);
    for (const id of this.#carried.keys()) if (!present.has(id)) this.#carried.delete(id);
    return changed;
  }
}
