// How long an instance may take: to begin with what it was sent while it started, to answer what it works on, and to let its link
// end when it is gone. Owns a slot's timer, one at a time. What follows when time is up is the pool's (instances.ts).
import type { Clock } from '../../base/clock.ts';
import type { InvokeTuning } from '../config.ts';
import type { Invocation } from './invocation.ts';
import type { Slot } from './slot.ts';

export interface DeadlineHandlers {
  readonly onTimedOut: (slot: Slot, head: Invocation) => void;
  /** The controller lets no start take so long: neither it nor the agent is there to end it. */
  readonly onNeverServed: (slot: Slot) => void;
  readonly onLinkSilent: (slot: Slot) => void;
}

export class Deadlines {
  /** The function's own. */
  timeoutMs: number;
  readonly #clock: Clock;
  readonly #tuning: Pick<InvokeTuning, 'acquireTimeoutMs' | 'deathReasonMs'>;
  readonly #handlers: DeadlineHandlers;

  constructor(timeoutMs: number, clock: Clock, tuning: InvokeTuning, handlers: DeadlineHandlers) {
    this.timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#tuning = tuning;
    this.#handlers = handlers;
  }

  /** It can begin with the first of what it was sent. */
  headStarts(slot: Slot): void {
    slot.headStartedAtMs = this.#clock.monotonicMs();
    slot.elsewhereMost = slot.elsewhere;
    // One timer for a slot however many invocations it serves: it looks again when it fires.
    slot.timer ??= setTimeout(() => this.#check(slot), this.timeoutMs);
  }

  /** It was sent something while it starts. */
  mustServe(slot: Slot): void {
    slot.timer = setTimeout(() => this.#handlers.onNeverServed(slot), this.#tuning.acquireTimeoutMs);
  }

  /** It is gone, and its link has not ended yet. */
  linkMustEnd(slot: Slot): void {
    clearTimeout(slot.timer);
    slot.timer = setTimeout(() => this.#handlers.onLinkSilent(slot), this.#tuning.deathReasonMs);
  }

  none(slot: Slot): void {
    clearTimeout(slot.timer);
    slot.timer = undefined;
  }

  /** How long the first has run. */
  ranMs(slot: Slot): number {
    return Math.max(0, this.#clock.monotonicMs() - slot.headStartedAtMs);
  }

  #check(slot: Slot): void {
    slot.timer = undefined;
    const head = slot.inflight[0];
    if (head === undefined) return;
    // Each that was there besides had its own time, and who was first is not known here.
    const allowedMs = this.timeoutMs * (1 + slot.elsewhereMost);
    const leftMs = slot.headStartedAtMs + allowedMs - this.#clock.monotonicMs();
    // Timers may fire a fraction of a millisecond early.
    if (leftMs > 1) slot.timer = setTimeout(() => this.#check(slot), leftMs);
    else this.#handlers.onTimedOut(slot, head);
  }
}
