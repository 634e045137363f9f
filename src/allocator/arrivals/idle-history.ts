// How long a function's instances idle between two calls: minutes in a histogram, what is longer beside it. Owns what is
// known; what follows from it is ./windows.ts.
//
// The histogram of "Serverless in the Wild" (USENIX ATC 2020): a minute a bin, four hours, so 240 numbers a function at most.
import { linearBuckets } from '../demand/buckets.ts';
import { DecayingHistogram, type StoredHistogram } from '../demand/decaying-histogram.ts';

export const binMs = 60_000;
export const rangeMs = 240 * binMs;
const bins = linearBuckets(binMs, rangeMs / binMs);
/** The study keeps two weeks; half after a week lets the last two count most. */
const halfLifeMs = 7 * 24 * 3_600_000;
/** Of idle times beyond the range the last ones are kept as they are: enough to see whether they are alike. */
const rememberedBeyond = 8;

export interface StoredIdleHistory {
  readonly histogram: StoredHistogram;
  readonly beyondWeight: number;
  readonly beyondMs: readonly number[];
}

export class IdleHistory {
  #histogram = new DecayingHistogram(bins, halfLifeMs);
  /** How many idle times were beyond the range, as a histogram of one bucket: forgotten at the same pace. */
  #beyond = new DecayingHistogram(linearBuckets(1, 1), halfLifeMs);
  #beyondMs: number[] = [];

  /** A call at `nowMs` came after the instance that would serve it had idled for `idleMs`, whether it was still there or not. */
  observe(idleMs: number, nowMs: number): void {
    if (idleMs < rangeMs) this.#histogram.add(idleMs, nowMs);
    else {
      this.#beyond.add(0, nowMs);
      this.#beyondMs = [...this.#beyondMs, idleMs].slice(-rememberedBeyond);
    }
  }

  /** How many idle times are known, less what is forgotten. */
  totalAt(nowMs: number): number {
    return this.#histogram.totalAt(nowMs) + this.#beyond.totalAt(nowMs);
  }

  /** The part of the idle times that was beyond the range; 0 when nothing is known. */
  beyondShareAt(nowMs: number): number {
    return this.#beyond.totalAt(nowMs) / Math.max(this.totalAt(nowMs), Number.MIN_VALUE);
  }

  /** The last idle times beyond the range. */
  get beyondMs(): readonly number[] {
    return this.#beyondMs;
  }

  /** Those within the range. */
  get within(): DecayingHistogram {
    return this.#histogram;
  }

  toStored(nowMs: number): StoredIdleHistory {
    return {
      histogram: this.#histogram.toStored(nowMs),
      beyondWeight: this.#beyond.totalAt(nowMs),
      beyondMs: this.#beyondMs,
    };
  }

  static fromStored(stored: StoredIdleHistory): IdleHistory {
    const history = new IdleHistory();
    history.#histogram = DecayingHistogram.fromStored(stored.histogram, bins, halfLifeMs);
    if (stored.beyondWeight > 0) history.#beyond.add(0, stored.histogram.atMs, stored.beyondWeight);
    history.#beyondMs = [...stored.beyondMs];
    return history;
  }
}
