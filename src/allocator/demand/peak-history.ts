// What the instances of one workload needed at most, of one resource: the highest figure of each interval, in a histogram
// that forgets. Owns the memory and the prediction from it; the choice of quantities is in ./prediction.ts.
//
// Peaks and not samples, as Autopilot and Kubernetes' vertical autoscaler do for memory: what is short by a moment's peak
// fails, however much there was to spare on average, and how often somebody looked must not count.
import type { Buckets } from './buckets.ts';
import { DecayingHistogram, type StoredHistogram } from './decaying-histogram.ts';

export interface PeakPolicy {
  readonly buckets: Buckets;
  readonly halfLifeMs: number;
  /** Of each such stretch of time the highest figure counts, once. */
  readonly intervalMs: number;
  /** With fewer peaks than this (less what is forgotten) nothing is predicted. */
  readonly leastPeaks: number;
  /** Which part of the peaks a prediction is to cover; 1 is all of them. */
  readonly quantile: number;
  /** What is added for what was never seen, as a part of it; and so much more with one peak known, half of that with two… */
  readonly margin: number;
  readonly doubt: number;
}

export interface StoredPeaks {
  readonly histogram: StoredHistogram;
  readonly intervalStartMs: number;
  /** The highest figure of the interval that is not over; null when there is none. */
  readonly openPeak: number | null;
}

export class PeakHistory {
  readonly #policy: PeakPolicy;
  #histogram: DecayingHistogram;
  #intervalStartMs = 0;
  #openPeak: number | null = null;
  /** The quantile of the peaks of intervals that are over: changes only as one ends. */
  #closed: number | null = null;

  constructor(policy: PeakPolicy) {
    this.#policy = policy;
    this.#histogram = new DecayingHistogram(policy.buckets, policy.halfLifeMs);
  }

  /** What one instance uses at this moment, or has used at most since it was last looked at. */
  observe(amount: number, nowMs: number): void {
    const startMs = nowMs - (nowMs % this.#policy.intervalMs);
    if (startMs > this.#intervalStartMs) {
      this.#close();
      this.#intervalStartMs = startMs;
    }
    this.#openPeak = Math.max(this.#openPeak ?? 0, amount);
  }

  /** What an instance will need at most; null when too little is known. The open interval counts with what it has. */
  predict(nowMs: number): number | null {
    const { leastPeaks, margin, doubt } = this.#policy;
    const peaks = this.#histogram.totalAt(nowMs);
    if (peaks < leastPeaks) return null;
    const peak = Math.max(this.#closed ?? 0, this.#openPeak ?? 0);
    return Math.ceil(peak * (1 + margin + doubt / peaks));
  }

  toStored(nowMs: number): StoredPeaks {
    return {
      histogram: this.#histogram.toStored(nowMs),
      intervalStartMs: this.#intervalStartMs,
      openPeak: this.#openPeak,
    };
  }

  static fromStored(stored: StoredPeaks, policy: PeakPolicy): PeakHistory {
    const history = new PeakHistory(policy);
    history.#histogram = DecayingHistogram.fromStored(stored.histogram, policy.buckets, policy.halfLifeMs);
    history.#intervalStartMs = stored.intervalStartMs;
    history.#openPeak = stored.openPeak;
    history.#closed = history.#histogram.quantile(policy.quantile);
    return history;
  }

  #close(): void {
    if (this.#openPeak === null) return;
    this.#histogram.add(this.#openPeak, this.#intervalStartMs);
    this.#closed = this.#histogram.quantile(this.#policy.quantile);
    this.#openPeak = null;
  }
}
