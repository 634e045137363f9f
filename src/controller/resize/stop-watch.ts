// Times a change and its stages. Owns nothing of what a stage is.
import type { Clock } from '../../base/clock.ts';
import type { Stage } from '../../model/change.ts';
import type { Timing } from './transaction.ts';

export class StopWatch {
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #stages: Stage[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
  }

  get elapsedMs(): number {
    return this.#clock.monotonicMs() - this.#startMs;
  }

  get timing(): Timing {
    return { durationMs: this.elapsedMs, stages: [...this.#stages] };
  }

  /** The stage began when the change did. */
  end(name: Stage['name']): void {
    this.#stages.push({ name, durationMs: this.elapsedMs });
  }

  async during<T>(name: Stage['name'], work: Promise<T>): Promise<T> {
    const beginMs = this.elapsedMs;
    const result = await work;
    this.#stages.push({ name, durationMs: this.elapsedMs - beginMs });
    return result;
  }
}
