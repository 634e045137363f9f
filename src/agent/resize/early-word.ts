// When it is said of an owner that its part of a request stands: with the answer, unless that takes long. Then whoever is done
// is told of without those who are waited for: a collection of garbage, or usage that is to fall. Owns that moment; what is
// said, and to whom, is the caller's.
import type { Step } from './plan.ts';

/** Requests that wait for nobody are done within this, as a rule: they tell all at once, after their answer was read. */
const soonMs = 20;

export class EarlyWord {
  readonly #tell: (key: string) => void;
  /** How many steps of an owner are still to be done. */
  readonly #open = new Map<string, number>();
  /** Done while it is soon. */
  readonly #done: string[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(steps: readonly Step[], tell: (key: string) => void) {
    this.#tell = tell;
    for (const { key } of steps) this.#open.set(key, (this.#open.get(key) ?? 0) + 1);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      for (const key of this.#done.splice(0)) tell(key);
    }, soonMs);
  }

  /** A step of this owner is done. */
  done(key: string): void {
    const open = (this.#open.get(key) ?? 0) - 1;
    this.#open.set(key, open);
    if (open > 0) return;
    if (this.#timer === undefined) this.#tell(key);
    else this.#done.push(key);
  }

  /** The answer tells of everybody now. */
  close(): void {
    clearTimeout(this.#timer);
  }
}
