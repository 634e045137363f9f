// Keeps the kernel's moves between groups quick while starts are likely. The first move after a pause waits for every CPU
// to notice (8 to 20 ms measured, longer than all else of a start from the pool); one within about 15 ms of another
// takes 0.05 ms. Starts come in bursts, so after each one some process of ours is "moved" to where it is, again and again.
// Owns when, and of which group; the write itself is the Cgroup's. It costs 2 to 3 % of one CPU for these seconds, and nothing otherwise.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import type { Cgroup, GroupPath, StandingMove } from './cgroup/port.ts';

/** Well within the 15 ms after which the kernel falls back. */
const everyMs = 8;
/** A page load or a queue's batch that reaches several functions does so within seconds. */
const afterStartMs = 3_000;

export interface MoveWarmthOptions {
  readonly cgroup: Pick<Cgroup, 'standingMove'>;
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
    let standing: StandingMove | null = null;
    while (this.#options.clock.monotonicMs() < this.#untilMs) {
      standing ??= this.#open();
      if (standing !== null && !(await repeated(standing))) {
        standing.close();
        standing = null;
      }
      await sleep(everyMs, undefined, { ref: false });
    }
    standing?.close();
    this.#running = false;
  }

  #open(): StandingMove | null {
    const { cgroup, settledGroup } = this.#options;
    const group = settledGroup();
    try {
      return group === undefined ? null : cgroup.standingMove(group);
    } catch {
      return null;
    }
  }
}

/** What goes wrong here, too, costs a start some milliseconds, and nobody else anything. */
const repeated = (standing: StandingMove): Promise<boolean> => standing.repeat().catch(() => false);
