// A histogram that forgets: a sample weighs half as much after each half-life. Owns weights and quantiles; what the
// values mean and how they are sorted is the caller's matter (./buckets.ts). No clock: the time of a sample comes with it.
//
// Nothing is multiplied as time passes: a later sample is added with a larger weight instead, and only ratios count.
import type { Buckets } from './buckets.ts';

/** As it is stored: small whole numbers, and nothing for what is empty. */
export interface StoredHistogram {
  /** The weight of all samples together, as of `atMs`, were each 1 when it was new. */
  readonly total: number;
  readonly atMs: number;
  /** Bucket, share, bucket, share…; shares are parts of {@link storedParts}. */
  readonly shares: readonly number[];
}

/** What weighs less than one such part of the whole is not stored: it changes no quantile that anybody asks for. */
export const storedParts = 10_000;
/** Weights grow by 2 to this power before all are scaled down; doubles have room for ten times that. */
const mostDoublings = 100;

export class DecayingHistogram {
  readonly #buckets: Buckets;
  readonly #halfLifeMs: number;
  readonly #weights = new Map<number, number>();
  #total = 0;
  #referenceMs: number | null = null;

  constructor(buckets: Buckets, halfLifeMs: number) {
    this.#buckets = buckets;
    this.#halfLifeMs = halfLifeMs;
  }

  get isEmpty(): boolean {
    return this.#total === 0;
  }

  /** `weight`: 1 for a sample like any other. */
  add(value: number, atMs: number, weight = 1): void {
    this.#addTo(this.#buckets.indexOf(value), weight * this.#scaleAt(atMs));
  }

  /** The weight of all samples: how many there are, less what is forgotten. */
  totalAt(nowMs: number): number {
    return this.#referenceMs === null ? 0 : this.#total / 2 ** this.#doublings(nowMs);
  }

  /**
   * The end of the bucket below which the fraction `share` of the weight lies, so never less than what was measured.
   * 1 asks for the largest that is not forgotten; null when there is nothing.
   */
  quantile(share: number): number | null {
    const index = this.#indexAt(share);
    return index === null ? null : this.#buckets.endOf(index);
  }

  /** Like {@link quantile}, but the start of the bucket: never more than what was measured. */
  quantileStart(share: number): number | null {
    const index = this.#indexAt(share);
    return index === null ? null : this.#buckets.startOf(index);
  }

  /**
   * How unlike each other the buckets' weights are: their standard deviation by their mean. 0 when samples are spread
   * evenly, which means that they tell nothing; the square root of the number of buckets when all are alike.
   */
  coefficientOfVariation(): number {
    if (this.#total === 0) return 0;
    const mean = this.#total / this.#buckets.count;
    let squares = 0;
    for (const weight of this.#weights.values()) squares += weight * weight;
    return Math.sqrt(Math.max(0, squares / this.#buckets.count - mean * mean)) / mean;
  }

  toStored(nowMs: number): StoredHistogram {
    const shares = this.#sorted().flatMap(([index, weight]) => {
      const share = Math.round((weight / this.#total) * storedParts);
      return share === 0 ? [] : [index, share];
    });
    return { total: this.totalAt(nowMs), atMs: nowMs, shares };
  }

  static fromStored(stored: StoredHistogram, buckets: Buckets, halfLifeMs: number): DecayingHistogram {
    const histogram = new DecayingHistogram(buckets, halfLifeMs);
    const scale = histogram.#scaleAt(stored.atMs);
    let parts = 0;
    for (let at = 1; at < stored.shares.length; at += 2) parts += stored.shares[at] ?? 0;
    for (let at = 0; at < stored.shares.length; at += 2) {
      const share = (stored.shares[at + 1] ?? 0) / parts;
      histogram.#addTo(Math.min(stored.shares[at] ?? 0, buckets.count - 1), share * stored.total * scale);
    }
    return histogram;
  }

  #addTo(index: number, weight: number): void {
    this.#weights.set(index, (this.#weights.get(index) ?? 0) + weight);
    this.#total += weight;
  }

  /** What a sample of this moment weighs among those that are there. */
  #scaleAt(atMs: number): number {
    this.#referenceMs ??= atMs;
    if (this.#doublings(atMs) > mostDoublings) this.#rebase(atMs);
    return 2 ** this.#doublings(atMs);
  }

  #rebase(atMs: number): void {
    const factor = 2 ** -this.#doublings(atMs);
    this.#referenceMs = atMs;
    this.#total = 0;
    for (const [index, weight] of this.#weights) {
      const scaled = weight * factor;
      // A hundred half-lives old and older: gone.
      if (scaled < 2 ** -mostDoublings) this.#weights.delete(index);
      else {
        this.#weights.set(index, scaled);
        this.#total += scaled;
      }
    }
  }

  #doublings(atMs: number): number {
    return (atMs - (this.#referenceMs ?? atMs)) / this.#halfLifeMs;
  }

  #indexAt(share: number): number | null {
    // A bucket with less than a stored part is as good as forgotten, or a single outlier would be the maximum for ever.
    const least = this.#total / storedParts / 2;
    const wanted = share * this.#total;
    let below = 0;
    let last: number | null = null;
    for (const [index, weight] of this.#sorted()) {
      below += weight;
      if (weight >= least || last === null) last = index;
      if (below >= wanted && weight >= least) break;
    }
    return last;
  }

  #sorted(): [number, number][] {
    return [...this.#weights].sort(([a], [b]) => a - b);
  }
}
