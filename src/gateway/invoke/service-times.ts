// How long a function's invocations take: an average that follows change, and the longest of the recent ones. Pure.

/** Weight of a new sample: after 20 samples of a new kind nine tenths of the average is of that kind. */
const smoothing = 0.1;
/** How many recent samples the maximum looks back on, and how many it takes before it says anything. */
const window = 64;
export const enoughSamples = 16;

export class ServiceTimes {
  #averageMs: number | undefined;
  readonly #recentMs = new Float64Array(window);
  #count = 0;
  #recentMaxMs = 0;

  add(durationMs: number): void {
    this.#averageMs =
      this.#averageMs === undefined
        ? durationMs
        : this.#averageMs + smoothing * (durationMs - this.#averageMs);
    const at = this.#count % window;
    const replaced = this.#recentMs[at] ?? 0;
    this.#recentMs[at] = durationMs;
    this.#count += 1;
    if (durationMs >= this.#recentMaxMs) this.#recentMaxMs = durationMs;
    // Only when the longest one leaves the window is it worth looking at all of them.
    else if (replaced === this.#recentMaxMs) this.#recentMaxMs = Math.max(...this.#recentMs);
  }

  /** Undefined before the first sample. */
  get averageMs(): number | undefined {
    return this.#averageMs;
  }

  /** Whether all recent invocations, enough of them, were shorter. */
  isShorterThan(limitMs: number): boolean {
    return this.#count >= enoughSamples && this.#recentMaxMs < limitMs;
  }
}
