// How many requests wait for instances of each function, over all gateways: each says it when it asks for an instance, and when
// it has asked for more than it needs. Owns the last word of each. What follows from the sum is ../reconcile/on-demand.ts.
import type { WorkloadKey } from '../../base/ids.ts';

interface Word {
  /** Instances asked for and not answered yet: where there is none nobody waits for a start, whatever was said. */
  asked: number;
  waiting: number;
}

export class Needs<Gateway> {
  readonly #words = new Map<WorkloadKey, Map<Gateway, Word>>();

  /** A gateway asks for one more, since so many wait. @returns to be called when it was answered */
  asks(gateway: Gateway, workload: WorkloadKey, waiting: number): () => void {
    const ofWorkload = this.#words.get(workload) ?? new Map<Gateway, Word>();
    this.#words.set(workload, ofWorkload);
    const word = ofWorkload.get(gateway) ?? { asked: 0, waiting: 0 };
    ofWorkload.set(gateway, word);
    word.asked += 1;
    word.waiting = waiting;
    return () => {
      word.asked -= 1;
      if (word.asked === 0) ofWorkload.delete(gateway);
      if (ofWorkload.size === 0) this.#words.delete(workload);
    };
  }

  /** Fewer wait there now. @returns how many wait everywhere */
  spares(gateway: Gateway, workload: WorkloadKey, waiting: number): number {
    const ofWorkload = this.#words.get(workload);
    const word = ofWorkload?.get(gateway);
    if (word !== undefined) word.waiting = waiting;
    let sum = word === undefined ? waiting : 0;
    for (const other of ofWorkload?.values() ?? []) sum += Math.min(other.waiting, other.asked);
    return sum;
  }
}
