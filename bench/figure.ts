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
