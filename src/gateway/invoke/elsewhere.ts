// Invocations that an instance runs and that are not ours: of another gateway, or of one that crashed. Owns counting them, and ending
// an instance in which one never ends. Does not own who may send to it (lending.ts).
import type { FunctionConcurrency } from './concurrency.ts';
import type { PoolEffects } from './effects.ts';
import type { Slot } from './slot.ts';

export class Elsewhere {
  readonly #effects: Pick<PoolEffects, 'discard'>;
  readonly #concurrency: Pick<FunctionConcurrency, 'elsewhere'>;

  constructor(effects: Pick<PoolEffects, 'discard'>, concurrency: Pick<FunctionConcurrency, 'elsewhere'>) {
    this.#effects = effects;
    this.#concurrency = concurrency;
  }

  /** It runs so many. @param mostMs the longest that none of them may end */
  told(slot: Slot, count: number, mostMs: number): void {
    this.#set(slot, count);
    if (count === 0) return;
    // Whoever sent them ends the instance when one times out, unless that crashed.
    slot.elsewhereTimer = setTimeout(
      () => this.#effects.discard(slot.id, 'an invocation that a gateway before had sent timed out'),
      mostMs,
    );
  }

  /** It has ended, or the next link is told anew. */
  forget(slot: Slot): void {
    this.#set(slot, 0);
  }

  #set(slot: Slot, count: number): void {
    clearTimeout(slot.elsewhereTimer);
    this.#concurrency.elsewhere(count - slot.elsewhere);
    slot.elsewhere = count;
    slot.elsewhereMost = Math.max(slot.elsewhereMost, count);
  }
}
