// Which invocations have lines of their own in the log although they printed nothing, and the line for the others.
// Owns that rule, the counts and the words. Does not own writing (invocation-log.ts). Pure.
//
// Three lines for each of 20,000 invocations in a second would push out of a workload's log (32 MiB are kept) within
// seconds whatever somebody printed, and are more than the agent reads from one instance in that time: the function
// would wait for its log. So in each second the first have their lines as on Lambda, and one line tells of the rest.
// An invocation that prints, fails, or whose log's tail is asked for has all its lines always.

/** More than a person reads along with, at 28 kB in a second. */
export const fullPerSecond = 100;
export const secondMs = 1000;

export class QuietInvocations {
  #windowAtMs = Number.NEGATIVE_INFINITY;
  #allowance = 0;
  #count = 0;
  #totalMs = 0;
  #longestMs = 0;
  #billedMs = 0;
  #peakKib = 0;

  /** Whether one that begins now has its own lines whatever it does. */
  hasOwnLines(nowMs: number): boolean {
    if (nowMs - this.#windowAtMs >= secondMs) {
      this.#windowAtMs = nowMs;
      this.#allowance = fullPerSecond;
    }
    if (this.#allowance === 0) return false;
    this.#allowance -= 1;
    return true;
  }

  /** One without lines of its own ended. */
  add(durationMs: number, peakKib: number): void {
    this.#count += 1;
    this.#totalMs += durationMs;
    this.#billedMs += Math.ceil(durationMs);
    if (durationMs > this.#longestMs) this.#longestMs = durationMs;
    if (peakKib > this.#peakKib) this.#peakKib = peakKib;
  }

  /** The line for all that were added since the last call; empty when there were none. */
  take(): string {
    if (this.#count === 0) return '';
    const line =
      `REPORT of ${this.#count} more invocations that printed nothing\t` +
      `Average Duration: ${(this.#totalMs / this.#count).toFixed(2)} ms\tLongest Duration: ${this.#longestMs.toFixed(2)} ms\t` +
      `Billed Duration: ${this.#billedMs} ms\tMax Memory Used: ${Math.ceil(this.#peakKib / 1024)} MB\n`;
    this.#count = 0;
    this.#totalMs = 0;
    this.#longestMs = 0;
    this.#billedMs = 0;
    this.#peakKib = 0;
    return line;
  }
}
