// What is stored of a workload's memory. Owns the shape, and reading it back: what can not be read is worth less than a
// start of the controller. Pure.
import { z } from 'zod';
import { FunctionArrivals } from '../../allocator/arrivals/function-arrivals.ts';
import { WorkloadPrediction } from '../../allocator/demand/prediction.ts';

/** Buckets and places are bounded by the allocator, far below this. */
const mostNumbers = 10_000;
const numbers = z.array(z.number()).max(mostNumbers);
const histogram = z.object({ total: z.number().nonnegative(), atMs: z.number(), shares: numbers });
const peaks = z.object({ histogram, intervalStartMs: z.number(), openPeak: z.number().nullable() });

const storedMemory = z.object({
  /** Another one is of another Bellows, and not read. */
  version: z.literal(1),
  /** When the workload was first seen to run. */
  knownSinceMs: z.number(),
  peaks: z.object({ memory: peaks, cpu: peaks, storage: peaks, bandwidth: peaks }),
  arrivals: z.object({
    bands: z.array(z.object({ histogram, beyondWeight: z.number(), beyondMs: numbers })).max(64),
    freedAtMs: numbers,
  }),
});
export type StoredMemory = z.infer<typeof storedMemory>;

/** What is known of one workload, over all its instances, those included that are gone. */
export interface WorkloadMemory {
  readonly knownSinceMs: number;
  readonly prediction: WorkloadPrediction;
  readonly arrivals: FunctionArrivals;
}

export function newMemory(nowMs: number): WorkloadMemory {
  return {
    knownSinceMs: nowMs,
    prediction: WorkloadPrediction.empty(),
    arrivals: new FunctionArrivals(),
  };
}

export function toStored(memory: WorkloadMemory, nowMs: number): StoredMemory {
  const { knownSinceMs, prediction, arrivals } = memory;
  const { bands, freedAtMs } = arrivals.toStored(nowMs);
  return {
    version: 1,
    knownSinceMs,
    peaks: prediction.toStored(nowMs) as StoredMemory['peaks'],
    arrivals: { bands: bands as StoredMemory['arrivals']['bands'], freedAtMs: [...freedAtMs] },
  };
}

/** Undefined when it is not what this Bellows stores. */
export function fromStored(value: unknown): WorkloadMemory | undefined {
  const { data } = storedMemory.safeParse(value);
  if (data === undefined) return undefined;
  return {
    knownSinceMs: data.knownSinceMs,
    prediction: WorkloadPrediction.fromStored(data.peaks),
    arrivals: FunctionArrivals.fromStored(data.arrivals),
  };
}
