// Whether anything is to be taken back, and how much: what is unallocated, less what is about to be wanted, against two
// watermarks; and pressure, which says that the figures are wrong. Pure; whole base units, alike for all four resources.
//
//   unallocated ─ coming demand ─ unmet grants:   above low: nothing      below low: up to high, so that it does not begin anew at once

/** What the host says of one resource. */
export interface HostObservation {
  readonly capacity: number;
  /** Neither granted nor used by anybody; by the kernel's figures where it has some. */
  readonly unallocated: number;
  /** What instances are expected to want soon beyond what they have. */
  readonly coming: number;
  /** What was asked for and could not be granted, or found no room to start. */
  readonly unmet: number;
  /** Per cent of the last ten seconds in which somebody waited for the resource (PSI "some", avg10). */
  readonly pressurePercent: number;
}

export interface NeedPolicy {
  /** Parts of the capacity. */
  readonly lowWatermark: number;
  readonly highWatermark: number;
  readonly mostPressurePercent: number;
  /** What is taken back for pressure alone, as a part of the capacity: looked at again after that. */
  readonly pressureStep: number;
}

export const defaultNeedPolicy: NeedPolicy = {
  // What starts in the time that reclaim takes must find room without waiting for it.
  lowWatermark: 0.05,
  highWatermark: 0.1,
  // A tenth of the time lost: Meta's senpai steers for a hundredth of that where nobody is in need, this is for those who are.
  mostPressurePercent: 10,
  pressureStep: 0.02,
};

/** `amount` 0 is nothing to do, and then there is no reason. */
export interface ReclaimNeed {
  readonly amount: number;
  readonly because: 'unmet grants' | 'coming demand' | 'low watermark' | 'pressure' | null;
}

export function reclaimNeed(host: HostObservation, policy: NeedPolicy = defaultNeedPolicy): ReclaimNeed {
  const low = policy.lowWatermark * host.capacity;
  const high = policy.highWatermark * host.capacity;
  const expected = host.unallocated - host.coming - host.unmet;
  const step = host.pressurePercent > policy.mostPressurePercent ? policy.pressureStep * host.capacity : 0;
  if (expected >= low) return { amount: Math.ceil(step), because: step > 0 ? 'pressure' : null };
  return { amount: Math.ceil(Math.max(high - expected, step)), because: reasonOf(host, low) };
}

/** What was added last before it was too much, in order of weight. */
function reasonOf({ unallocated, unmet }: HostObservation, low: number): ReclaimNeed['because'] {
  if (unallocated < low) return unmet > 0 ? 'unmet grants' : 'low watermark';
  return unallocated - unmet < low ? 'unmet grants' : 'coming demand';
}
