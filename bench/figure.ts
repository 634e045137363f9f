// What a bench gives back, and the little statistics that all of them need.

export interface Figure {
  readonly name: string;
  /** As shown, with its unit. */
  readonly value: string;
  readonly aim?: string;
  /** Whether the aim was met; absent when there is none. */
  readonly met?: boolean;
}

export interface Bench {
  readonly what: string;
  readonly run: () => Promise<Figure[]>;
}

/** The value below which the fraction `p` of the samples lies (nearest rank). */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? NaN;
}

export const ms = (value: number): string => `${value.toFixed(2)} ms`;
export const times = (value: number): string => `${value.toFixed(2)} ×`;
export const percent = (value: number): string => `${(value * 100).toFixed(1)} %`;

/** Upper bounds in ms, in the steps of 1, 2, 5. */
const bounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, Number.POSITIVE_INFINITY];

/** How many samples each step holds, from the first to the last that holds any: one figure for each. */
export function histogram(samplesMs: readonly number[]): Figure[] {
  const counts = bounds.map(
    (bound, at) => samplesMs.filter((sample) => sample <= bound && sample > (bounds[at - 1] ?? 0)).length,
  );
  const first = counts.findIndex((count) => count > 0);
  const last = counts.findLastIndex((count) => count > 0);
  return bounds.slice(first, last + 1).map((bound, at) => ({
    name: bound === Number.POSITIVE_INFINITY ? '  more' : `  up to ${bound} ms`,
    value: String(counts[first + at]),
  }));
}
