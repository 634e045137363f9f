// How values are sorted into buckets for a histogram: as wide everywhere, or wider the larger the value. Pure.

export interface Buckets {
  readonly count: number;
  /** The bucket that `value` falls into; what is below the first or beyond the last counts as that one. */
  indexOf(value: number): number;
  /** The value at which a bucket begins. */
  startOf(index: number): number;
  /** The value at which it ends and the next one begins. */
  endOf(index: number): number;
}

/** `count` buckets of the same width, from 0. */
export function linearBuckets(width: number, count: number): Buckets {
  return {
    count,
    indexOf: (value) => clamp(Math.floor(value / width), count),
    startOf: (index) => index * width,
    endOf: (index) => (index + 1) * width,
  };
}

/**
 * Each bucket is `ratio` times as wide as the one before it, until `most` falls into one: so an estimate is wrong by
 * about `ratio` - 1 of the value, however large it is. The scheme of Kubernetes' vertical autoscaler.
 */
export function exponentialBuckets(firstWidth: number, ratio: number, most: number): Buckets {
  const startOf = (index: number): number => (firstWidth * (ratio ** index - 1)) / (ratio - 1);
  const rawIndexOf = (value: number): number =>
    Math.floor(Math.log((value * (ratio - 1)) / firstWidth + 1) / Math.log(ratio));
  const count = rawIndexOf(most) + 1;
  const indexOf = (value: number): number => {
    const near = clamp(rawIndexOf(Math.max(0, value)), count);
    // Rounding of the logarithm can miss by one where a bucket begins.
    if (value < startOf(near)) return clamp(near - 1, count);
    return value >= startOf(near + 1) ? clamp(near + 1, count) : near;
  };
  return { count, indexOf, startOf, endOf: (index) => startOf(index + 1) };
}

function clamp(index: number, count: number): number {
  return Math.min(Math.max(index, 0), count - 1);
}
