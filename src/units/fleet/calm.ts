// When memory may be claimed again after an emergency gave all of it back. Pure but for its state, with time passed in:
// each emergency that follows soon after one doubles the wait, so that a unit that needs its memory keeps it.
import type { FleetTuning } from './config.ts';

export class Calm {
  readonly #tuning: Pick<FleetTuning, 'calmFirstMs' | 'calmLongestMs'>;
  #quietMs = 0;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(tuning: Pick<FleetTuning, 'calmFirstMs' | 'calmLongestMs'>) {
    this.#tuning = tuning;
  }

  /** Memory was short. Answers for how long nothing is claimed now. */
  disturbed(nowMs: number): number {
    const { calmFirstMs, calmLongestMs } = this.#tuning;
    // The pressure of one emergency is told many times; only what comes after the wait counts as another one.
    if (nowMs >= this.#untilMs) {
      const soon = nowMs - this.#untilMs <= this.#quietMs * 2;
      this.#quietMs = soon && this.#quietMs > 0 ? Math.min(this.#quietMs * 2, calmLongestMs) : calmFirstMs;
    }
    this.#untilMs = nowMs + this.#quietMs;
    return this.#quietMs;
  }

  /** For how long nothing is to be claimed; 0 when it may be. */
  quietMs(nowMs: number): number {
    return Math.max(0, this.#untilMs - nowMs);
  }
}
