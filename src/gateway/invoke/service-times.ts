// How long a function's invocations take: an average that follows change. Pure.

/** Weight of a new sample: after 20 samples of a new kind nine tenths of the average is of that kind. */
const smoothing = 0.1;
/** How many samples it takes before the average says anything of the next one. */
export const enoughSamples = 16;

export class ServiceTimes {
  #averageMs: number | undefined;
  #count = 0;

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
