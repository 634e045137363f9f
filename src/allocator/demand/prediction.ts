// How peaks are remembered for each resource, and what a workload is therefore expected to need. Owns the constants with
// their reasons; the arithmetic is ./peak-history.ts.
import { gib, mib } from '../../base/quantity.ts';
import { resourceKinds, type ResourceKind } from '../../model/resources.ts';
import { exponentialBuckets } from './buckets.ts';
import { PeakHistory, type PeakPolicy, type StoredPeaks } from './peak-history.ts';

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
/**
 * Each bucket is so much wider than the last, and an estimate may be wrong by as much: 5 % in Kubernetes' vertical autoscaler.
 * What is reserved and not used is what we are to avoid, and a workload's figures fill few buckets, however fine they are.
 */
const ratio = 1.02;

/** A half-life of a day is the vertical autoscaler's, intervals of five minutes are Autopilot's. */
const common = { halfLifeMs: dayMs, intervalMs: 5 * minuteMs, leastPeaks: 2.5 } as const;
/**
 * Who is short of it fails: all peaks count that are not forgotten. The bucket's end is above them already; but the highest of
 * three figures says little about the fourth, so as the vertical autoscaler we add the more, the fewer are known.
 */
const mustNotRunOut = { ...common, quantile: 1, margin: 0.01, doubt: 1.5 } as const;
/** Who is short of it is slower: Autopilot's 95th percentile, the vertical autoscaler's margin. */
const mayRunOut = { ...common, quantile: 0.95, margin: 0.15, doubt: 0 } as const;

export const peakPolicies: Readonly<Record<ResourceKind, PeakPolicy>> = {
  memory: { ...mustNotRunOut, buckets: exponentialBuckets(mib, ratio, 1024 * gib) },
  cpu: { ...mayRunOut, buckets: exponentialBuckets(10, ratio, 1_024_000) },
  storage: { ...mustNotRunOut, buckets: exponentialBuckets(mib, ratio, 1024 * gib) },
  bandwidth: { ...mayRunOut, buckets: exponentialBuckets(10_000, ratio, 1e11) },
};

export type StoredPrediction = Readonly<Record<ResourceKind, StoredPeaks>>;

/** The memory of one workload, over all its instances. Base units of each resource. */
export class WorkloadPrediction {
  readonly #peaks: Readonly<Record<ResourceKind, PeakHistory>>;

  private constructor(peakOf: (resource: ResourceKind) => PeakHistory) {
    this.#peaks = perResource(peakOf);
  }

  static empty(): WorkloadPrediction {
    return new WorkloadPrediction((resource) => new PeakHistory(peakPolicies[resource]));
  }

  static fromStored(stored: StoredPrediction): WorkloadPrediction {
    return new WorkloadPrediction((resource) =>
      PeakHistory.fromStored(stored[resource], peakPolicies[resource]),
    );
  }

  toStored(nowMs: number): StoredPrediction {
    return perResource((resource) => this.#peaks[resource].toStored(nowMs));
  }

  observe(resource: ResourceKind, amount: number, nowMs: number): void {
    this.#peaks[resource].observe(amount, nowMs);
  }

  /** What one instance will need at most, never more than `request`; a workload that is not known yet needs all of it. */
  predict(resource: ResourceKind, request: number, nowMs: number): number {
    return Math.min(request, this.#peaks[resource].predict(nowMs) ?? request);
  }
}

function perResource<T>(make: (resource: ResourceKind) => T): Readonly<Record<ResourceKind, T>> {
  return Object.fromEntries(resourceKinds.map((resource) => [resource, make(resource)])) as Record<
    ResourceKind,
    T
  >;
}
