// Which gateways are to come: a controller that just started knows none of them, and what it ends may be in use by any. Owns
// who was named by others and for how long they are waited for. Does not own those that are connected (gateways.ts).
import { setTimeout as sleep } from 'node:timers/promises';

export class Arrivals {
  readonly #patienceMs: number;
  /** Settled when the first is here; anew after the last has gone. */
  #first = Promise.withResolvers<void>();
  /** Named by one that is here, and not here yet, by their process. */
  readonly #named = new Map<number, PromiseWithResolvers<void>>();

  /** @param patienceMs how long one that is to come is waited for */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** One is here. @param missing those that it names and that are not */
  arrived(pid: number, missing: readonly number[]): void {
    // In the next turn it has been answered its table.
    setImmediate(() => {
      this.#first.resolve();
      this.#settle(pid);
    });
    for (const other of missing) {
      if (this.#named.has(other)) continue;
      this.#named.set(other, Promise.withResolvers());
      // One that ended before it came is not waited for by whoever comes later.
      setTimeout(() => this.#settle(other), this.#patienceMs).unref();
    }
  }

  /** None is here any more. */
  allGone(): void {
    this.#first = Promise.withResolvers();
  }

  /** Resolves when somebody is here, and all whom they have named; or late. */
  async complete(): Promise<void> {
    const waiting = new AbortController();
    const late = sleep(this.#patienceMs, undefined, { ref: false, signal: waiting.signal }).catch(
      () => undefined,
    );
    await Promise.race([late, this.#first.promise.then(() => this.#allNamed())]);
    waiting.abort();
  }

  async #allNamed(): Promise<void> {
    while (this.#named.size > 0) await Promise.all([...this.#named.values()].map(({ promise }) => promise));
  }

  #settle(pid: number): void {
    this.#named.get(pid)?.resolve();
    this.#named.delete(pid);
  }
}
