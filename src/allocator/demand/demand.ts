// What an instance demands: what the kernel says it uses, what its workload is expected to need, and what it asked for,
// weighed. Pure. How the expectation comes about is ./prediction.ts.
import { mib } from '../../base/quantity.ts';
import type { ResourceKind } from '../../model/resources.ts';

/** Counters and levels at one moment. Counters only grow while the instance lives. */
export interface UsageSample {
  readonly atMs: number;
  readonly workingSetBytes: number;
  readonly cpuUsageMicros: number;
  readonly cpuThrottledMicros: number;
  readonly storageBytes: number;
  /** Bytes that went through the gateway, in the direction that had more: a grant holds each way. */
  readonly bandwidthBytes: number;
}

/**
 * What an instance used between two samples, in base units: levels as they are, counters as rates. Time that it was
 * throttled counts as processor time: that is what it would have used.
 */
export function measuredUse(before: UsageSample, after: UsageSample): Readonly<Record<ResourceKind, number>> {
  const elapsedMs = after.atMs - before.atMs;
  const grown = (counter: 'cpuUsageMicros' | 'cpuThrottledMicros' | 'bandwidthBytes'): number =>
    Math.max(0, after[counter] - before[counter]);
  // Microseconds per millisecond are millicores.
  const cpuMicros = grown('cpuUsageMicros') + grown('cpuThrottledMicros');
  return {
    memory: after.workingSetBytes,
    cpu: elapsedMs <= 0 ? 0 : Math.round(cpuMicros / elapsedMs),
    storage: after.storageBytes,
    bandwidth: elapsedMs <= 0 ? 0 : Math.round((grown('bandwidthBytes') * 1_000) / elapsedMs),
  };
}

/**
 * A little more than the agent wants free above a running instance's working set before it lends the rest: see lentHeadroomBytes
 * in src/agent/resize/loan.ts, which counts its share from the limit.
 */
const memoryHeadroom = { always: 17 * mib, least: 8 * mib, share: 0.07 } as const;
/** Where more than is used is only slower to be had, a tenth more is enough to see that more is wanted. */
const otherHeadroom = { always: 0, least: 0, share: 0.1 } as const;

/** What is to be free above what is used, so that growth is seen before it is stopped. */
export function headroomOf(resource: ResourceKind, used: number): number {
  const { always, least, share } = resource === 'memory' ? memoryHeadroom : otherHeadroom;
  return always + Math.max(least, Math.ceil(used * share));
}

/** `frozen` stands still until it is thawed; `idle` runs, but no code of a call; `active` runs code, or is about to. */
export type Activity = 'frozen' | 'idle' | 'active';

export interface DemandInput {
  readonly resource: ResourceKind;
  readonly used: number;
  /** See WorkloadPrediction.predict. */
  readonly predicted: number;
  readonly request: number;
  /** What it needs in any case. */
  readonly floor: number;
  readonly activity: Activity;
}

/**
 * What is active is to have what it is expected to need before it needs it; what is idle has room to grow in; what stands
 * still can not grow. At least the floor, at most the request, and a floor above the request counts as the request.
 */
export function demandOf({ resource, used, predicted, request, floor, activity }: DemandInput): number {
  const grown = activity === 'frozen' ? used : used + headroomOf(resource, used);
  const wanted = activity === 'active' ? Math.max(grown, predicted) : grown;
  return Math.min(request, Math.max(floor, wanted));
}
