// Keeps the kernel's moves between groups quick while starts are likely. The first move after a pause waits for every CPU
// to notice (8 to 20 ms measured, longer than all else of a start from the pool); one within about 15 ms of another
// takes 0.05 ms. Starts come in bursts, so after each one some process of ours is "moved" to where it is, again and again.
// Owns when; the write itself is the Cgroup's. It costs 0.5 % of one CPU for these seconds, and nothing otherwise.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import type { Cgroup, GroupPath } from './cgroup/port.ts';

/** Well within the 15 ms after which the kernel falls back. */
const everyMs = 8;
/** A page load or a queue's batch that reaches several functions does so within seconds. */
const afterStartMs = 3_000;

export interface MoveWarmthOptions {
  readonly cgroup: Cgroup;
  readonly clock: Clock;
  /** A group whose processes stay where they are until they end; undefined while there is none. Never a pool's: those move. */
  readonly settledGroup: () => GroupPath | undefined;
}

export class MoveWarmth {
  readonly #options: MoveWarmthOptions;
  #untilMs = -Infinity;
  #running = false;

  constructor(options: MoveWarmthOptions) {
    this.#options = options;
  }

  /** An instance is being started: more may follow. */
  started(): void {
    this.#untilMs = this.#options.clock.monotonicMs() + afterStartMs;
    if (!this.#running) void this.#run();
  }

  close(): void {
    this.#untilMs = -Infinity;
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#options.clock.monotonicMs() < this.#untilMs) {
      const group = this.#options.settledGroup();
      // The instance may just be ending; then there is nothing to move, and nobody is worse off.
      if (group !== undefined) await this.#options.cgroup.warmMoves(group).catch(() => undefined);
      await sleep(everyMs, undefined, { ref: false });
    }
    this.#running = false;
  }
}
