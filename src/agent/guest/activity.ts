// How much each instance has run lately: the agent is not told of requests, the kernel's figures tell. Owns the last look at
// each instance; a look that is too fresh to compare with is waited for.
import { setTimeout as sleep } from 'node:timers/promises';
import type { InstanceId } from '../../base/ids.ts';
import type { Clock } from '../../base/clock.ts';

/** Shorter than this and one timer of a server's decides; longer and whoever asks waits. */
const shortestLookMs = 100;
/** Older than this and it says what was, not what is. */
const oldestLookMs = 5000;

export interface Runner {
  readonly id: InstanceId;
  readonly cpuMicros: () => number;
}

export class Activity {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #last = new Map<InstanceId, { readonly atMs: number; readonly micros: number }>();

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Of one CPU, since the last look at each; looks twice where there is none. */
  async shares(runners: readonly Runner[]): Promise<ReadonlyMap<InstanceId, number>> {
    const usable = ({ id }: Runner): boolean => {
      const last = this.#last.get(id);
      const ageMs = last === undefined ? Number.POSITIVE_INFINITY : this.#clock.monotonicMs() - last.atMs;
      return ageMs >= shortestLookMs && ageMs <= oldestLookMs;
    };
    if (!runners.every(usable)) {
      this.#look(runners.filter((runner) => !usable(runner)));
      await sleep(shortestLookMs);
    }
    const before = this.#last;
    this.#last = new Map();
    this.#look(runners);
    return new Map(
      runners.flatMap(({ id }) => {
        const [one, two] = [before.get(id), this.#last.get(id)];
        if (one === undefined || two === undefined || two.atMs <= one.atMs) return [];
        return [[id, (two.micros - one.micros) / 1000 / (two.atMs - one.atMs)]];
      }),
    );
  }

  #look(runners: readonly Runner[]): void {
    for (const { id, cpuMicros } of runners)
      this.#last.set(id, { atMs: this.#clock.monotonicMs(), micros: cpuMicros() });
  }
}
