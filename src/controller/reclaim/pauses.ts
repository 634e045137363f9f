// When the loop may run again: at once after it was of use, later and later while it brings nothing. Pure but for its memory.
//
//   free ──run──▶ settling ──settleMs──▶ free
//          └─brought nothing─▶ waiting: first, twice that, … longest ──▶ free

/** The kernel's figures and the working sets that follow from a run are there with the next two ticks. */
const settleMs = 2_000;
const firstPauseMs = 5_000;
/** Nothing changes for the better by itself more slowly than that: memory that is short stays noticed. */
const longestPauseMs = 60_000;

export class Pauses {
  #untilMs = Number.NEGATIVE_INFINITY;
  #vainRuns = 0;

  mayRun(nowMs: number): boolean {
    return nowMs >= this.#untilMs;
  }

  /** @param wasOfUse whether the run brought a tenth of what was wanted, or more */
  ran(wasOfUse: boolean, nowMs: number): void {
    this.#vainRuns = wasOfUse ? 0 : this.#vainRuns + 1;
    const pauseMs = wasOfUse ? settleMs : firstPauseMs * 2 ** Math.min(this.#vainRuns - 1, 30);
    this.#untilMs = nowMs + Math.min(pauseMs, longestPauseMs);
  }

  /** Something is otherwise than when nothing was found. */
  forget(): void {
    this.#untilMs = Number.NEGATIVE_INFINITY;
    this.#vainRuns = 0;
  }
}
