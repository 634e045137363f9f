// How many instances of one function worked at once between two reports, and when calls came and ended: what the controller
// learns the times between calls from. Owns three figures, however many calls there are; a call costs a comparison.
import type { Clock } from '../../base/clock.ts';
import type { CallTrace } from '../../protocol/routes.ts';
import type { Slot } from './slot.ts';

export class BusyTrace {
  readonly #clock: Clock;
  #busy = 0;
  #most = 0;
  #calledAtMs: number | null = null;
  #endedAtMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many work now. */
  get busy(): number {
    return this.#busy;
  }

  /** To be told of a slot whenever something was sent to it, or something of its has ended. */
  look(slot: Slot): void {
    const isBusy = slot.inflight.length > 0;
    if (isBusy === slot.countedBusy) return;
    slot.countedBusy = isBusy;
    if (!isBusy) {
      this.#busy -= 1;
      this.#endedAtMs = this.#clock.nowMs();
      return;
    }
    this.#busy += 1;
    if (this.#busy <= this.#most) return;
    this.#most = this.#busy;
    this.#calledAtMs ??= this.#clock.nowMs();
  }

  /** What there was since the last time it was asked for; undefined when nothing was. */
  take(): CallTrace | undefined {
    const trace =
      this.#calledAtMs === null && this.#endedAtMs === null
        ? undefined
        : { most: this.#most, calledAtMs: this.#calledAtMs, endedAtMs: this.#endedAtMs };
    // Who goes on working is counted when the report is made, and is no call of the next one.
    this.#most = this.#busy;
    this.#calledAtMs = null;
    this.#endedAtMs = null;
    return trace;
  }
}
