// How long a function's invocations take: an average that follows change, and what those that run now say of it. Pure.

/** Weight of a new sample: after 20 samples of a new kind nine tenths of the average is of that kind. */
const smoothing = 0.1;
/** How many samples it takes before the average says anything of the next one. */
export const enoughSamples = 16;

export class ServiceTimes {
  #averageMs: number | undefined;
  #count = 0;

  /** Its code is another: what is known is the best guess until as much is known of that, and nothing to rely on. */
  renew(): void {
    this.#count = 0;
  }

  add(durationMs: number): void {
    this.#averageMs =
      this.#averageMs === undefined
        ? durationMs
        : this.#averageMs + smoothing * (durationMs - this.#averageMs);
    this.#count += 1;
  }

  /** Undefined before the first sample. */
  get averageMs(): number | undefined {
    return this.#averageMs;
  }

  /** How many one after the other take no longer than `limitMs`, `most` at most; 0 while too little is known. */
  fitInto(limitMs: number, most: number): number {
    if (this.#averageMs === undefined || this.#count < enoughSamples) return 0;
    return this.#averageMs * most <= limitMs ? most : Math.floor(limitMs / this.#averageMs);
  }
}

/** So many that have run for as long as a start takes are no accident: fewer may have met a pause of the machine. */
const enoughLasting = 3;

/**
 * What one takes at present: the average, unless those that run say otherwise. Where nothing has ended yet they are all there
 * is to go by: it takes as long as the longest has run, at least.
 * @param runningMs for how long each of those that run does so
 * @returns null when nothing is known
 */
export function presentServiceMs(
  averageMs: number | null,
  runningMs: readonly number[],
  startMs: number,
): number | null {
  if (averageMs === null) return runningMs.length === 0 ? null : Math.max(...runningMs);
  const lasting = runningMs.filter((each) => each >= startMs);
  return lasting.length < enoughLasting ? averageMs : Math.max(averageMs, Math.min(...lasting));
}
