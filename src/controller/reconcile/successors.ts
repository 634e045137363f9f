// New code for a function that is in use, or the same in another place: its first instance is started while those before serve
// on, and calls meet the new one once that serves. Owns which instances are of code that is not in place yet, and how long that is waited for. What it
// is put in place with is ../workloads.ts; a controller that dies meanwhile has put nothing in place, and the next one ends it.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { WorkloadKey } from '../../base/ids.ts';
import type { FunctionWorkload } from '../../model/workload.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import type { Logger } from '../../sys/log.ts';
import { isLive, type ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { OnDemand } from './on-demand.ts';

/** Whoever deploys waits for it: a start takes a tenth of that, and code that loads for longer is waited for by its calls. */
const patienceMs = 5_000;
/** Who calls that often is likely to call before an instance would have started. */
const usedLatelyMs = 10_000;

export interface SuccessorsParts {
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly onDemand: Pick<OnDemand, 'startSuccessor'>;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Successors {
  readonly #parts: SuccessorsParts;
  /** The generation that is about to be put in place. */
  readonly #next = new Map<WorkloadKey, string>();

  constructor(parts: SuccessorsParts) {
    this.#parts = parts;
  }

  /** Whether it is of code that is about to be put in place: no deployment wants it yet. */
  has({ workload, generation }: InstanceSpec): boolean {
    return this.#next.get(workload) === generation;
  }

  /** Puts `next` in place once an instance of it serves, or can not; at once when nobody uses the code before. */
  async before<T>(next: FunctionWorkload, putInPlace: () => Promise<T>): Promise<T> {
    if (!this.#isInUse(next)) return putInPlace();
    this.#next.set(next.key, next.generation);
    try {
      await Promise.race([this.#start(next), sleep(patienceMs, undefined, { ref: false })]);
      return await putInPlace();
    } finally {
      this.#next.delete(next.key);
    }
  }

  /**
   * Puts the same code in place elsewhere once an instance of it serves there, however long that takes; at once when none runs.
   * @throws BellowsError when none can be started there: nothing has changed then
   */
  async elsewhere<T>(next: FunctionWorkload, putInPlace: () => Promise<T>): Promise<T> {
    if (!this.#parts.actual.ofWorkload(next.key).some(isLive)) return putInPlace();
    this.#next.set(next.key, next.generation);
    try {
      if ((await this.#parts.onDemand.startSuccessor(next)) === undefined)
        throw new BellowsError(
          'NoRoom',
          `There is no room for a second instance of ${next.key}, which it is moved with: it goes on where it is.`,
          'Lower what others may have, or try again when less is in use.',
        );
      return await putInPlace();
    } finally {
      this.#next.delete(next.key);
    }
  }

  /** Whether calls are served by other code than this. */
  #isInUse({ key, generation }: FunctionWorkload): boolean {
    const { desired, actual, clock } = this.#parts;
    const present = desired.workload(key);
    if (present?.kind !== 'function' || present.generation === generation) return false;
    const usedAfterMs = clock.nowMs() - usedLatelyMs;
    return actual
      .ofWorkload(key)
      .some(
        ({ spec, life, idle, lastUsedMs }) =>
          spec.generation === present.generation &&
          life.phase === 'serving' &&
          (!idle || lastUsedMs > usedAfterMs),
      );
  }

  /** Resolves in any case: who calls code that does not start is told why. */
  async #start(next: FunctionWorkload): Promise<void> {
    const { onDemand, log } = this.#parts;
    try {
      await onDemand.startSuccessor(next);
    } catch (thrown) {
      log.info({ err: thrown, workload: next.key }, 'no instance of the new code could be started ahead');
    }
  }
}
