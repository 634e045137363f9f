// When an instance that has become idle may go, and when one is to be there again: the hybrid policy of "Serverless in the
// Wild" (USENIX ATC 2020). Pure.
//
//   call ends ──may go──▶ ······ prewarmAfterMs ······ ──be there──▶ ── keepAliveMs ── ──▶ may go
//
//   few idle times known, or they are all alike likely ─▶ keep for a fixed time
//   many beyond the histogram's range ─▶ from the last of those, when they are alike; or keep for a fixed time
//   otherwise ─▶ from the shortest usual idle time to the longest
import { binMs, rangeMs, type IdleHistory } from './idle-history.ts';

export interface Windows {
  /** So long after a call no instance is needed; 0 keeps it. */
  readonly prewarmAfterMs: number;
  /** From then on one is kept for so long. */
  readonly keepAliveMs: number;
  /** What it follows from. */
  readonly from: 'fixed' | 'histogram' | 'last idle times';
}

export interface WindowPolicy {
  /** With fewer idle times than this the histogram tells nothing. */
  readonly leastSamples: number;
  /** When more than this part of them is beyond the range, the histogram does not know the function. */
  readonly mostBeyond: number;
  /** Below this the bins are so alike that no idle time is the usual one; the study's threshold. */
  readonly leastVariation: number;
  /** The part of idle times that is shorter than the window, and the part that is not longer than it; the study's. */
  readonly head: number;
  readonly tail: number;
  /** The window opens sooner by this part than the shortest usual idle time; the study's. */
  readonly headMargin: number;
  /** And closes later by this part than the longest usual one. */
  readonly tailMargin: number;
  /** When nothing is known well enough. */
  readonly fixedKeepAliveMs: number;
  /** Idle times beyond the range are alike when they deviate less than this part from their mean. */
  readonly mostDeviation: number;
}

export const defaultWindowPolicy: WindowPolicy = {
  leastSamples: 5,
  mostBeyond: 0.5,
  leastVariation: 2,
  head: 0.05,
  tail: 0.99,
  headMargin: 0.1,
  // The study's is 0.1. Where calls come often one in a hundred comes later than that, which is most of all starts; and who is kept
  // for longer is frozen and trimmed meanwhile: a third of the starts for a twentieth more memory-time, in the simulator.
  tailMargin: 1,
  // The study keeps for the histogram's range then. What is trimmed while it idles costs little, and goes first under pressure.
  fixedKeepAliveMs: rangeMs,
  mostDeviation: 0.15,
};

export function windowsOf(
  history: IdleHistory,
  nowMs: number,
  policy: WindowPolicy = defaultWindowPolicy,
): Windows {
  const fixed: Windows = { prewarmAfterMs: 0, keepAliveMs: policy.fixedKeepAliveMs, from: 'fixed' };
  if (history.beyondShareAt(nowMs) > policy.mostBeyond) return fromLast(history.beyondMs, policy) ?? fixed;
  if (history.totalAt(nowMs) < policy.leastSamples) return fixed;
  const { within } = history;
  if (within.coefficientOfVariation() < policy.leastVariation) return fixed;
  const headMs = (within.quantileStart(policy.head) ?? 0) * (1 - policy.headMargin);
  const tailMs = (within.quantile(policy.tail) ?? rangeMs) * (1 + policy.tailMargin);
  // To end an instance for less than a bin's time is not worth a start.
  const prewarmAfterMs = headMs < binMs ? 0 : headMs;
  return { prewarmAfterMs, keepAliveMs: tailMs - prewarmAfterMs, from: 'histogram' };
}

/** The study fits a time series here; with a handful of figures their mean says as much. */
function fromLast(idleMs: readonly number[], policy: WindowPolicy): Windows | null {
  // Two can be alike by chance.
  if (idleMs.length < 3) return null;
  const mean = idleMs.reduce((sum, value) => sum + value, 0) / idleMs.length;
  const deviation = Math.sqrt(idleMs.reduce((sum, value) => sum + (value - mean) ** 2, 0) / idleMs.length);
  if (deviation > policy.mostDeviation * mean) return null;
  const early = mean * (1 - 2 * policy.mostDeviation);
  return {
    prewarmAfterMs: early,
    keepAliveMs: mean * (1 + 2 * policy.mostDeviation) - early,
    from: 'last idle times',
  };
}
