// Invocations that would be refused only for what other gateways said a moment ago. Owns them until those have said it anew; what
// becomes of each then is the pool's matter.
import type { Invocation } from './invocation.ts';

export class Doubtful {
  readonly #hearOthers: () => Promise<void>;
  readonly #invocations = new Set<Invocation>();

  constructor(hearOthers: () => Promise<void>) {
    this.#hearOthers = hearOthers;
  }

  get none(): boolean {
    return this.#invocations.size === 0;
  }

  /** @param look when it is known, unless it was taken back */
  add(invocation: Invocation, look: () => void): void {
    this.#invocations.add(invocation);
    void this.#hearOthers().then(() => {
      if (this.#invocations.delete(invocation)) look();
    });
  }

  /** Whether it was here. */
  cancel(invocation: Invocation): boolean {
    return this.#invocations.delete(invocation);
  }

  takeAll(): Invocation[] {
    const all = [...this.#invocations];
    this.#invocations.clear();
    return all;
  }
}
