// Makes what was written to a file durable, off this thread and for many writers at once. Owns when a sync begins and
// who it counts for. What was written, and by whom, is the store's matter.
//
//   idle ──durable()──▶ syncing ──ended──▶ idle
//                        │   ▲
//              durable() ▼   │ ended
//                       syncing, next wanted     (all who come meanwhile share that next one)
//   any ──a sync failed──▶ failed                (for good: the kernel may have dropped what it could not write)
import { BellowsError, messageOf } from '../../base/errors.ts';

export class GroupSync {
  readonly #sync: () => Promise<void>;
  #current: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failure: BellowsError | undefined;

  /** @param sync brings everything that was written before this call to the disk */
  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** Set once a sync has failed; nothing that is written after that can be trusted to be kept. */
  get failure(): BellowsError | undefined {
    return this.#failure;
  }

  /** Resolves when what was written before this call is on the disk. @throws BellowsError Unavailable when it may not be */
  durable(): Promise<void> {
    if (this.#current === undefined) return this.#begin();
    // The one that is under way may have begun before the write that this caller asks for.
    this.#next ??= this.#current.then(
      () => this.#begin(),
      () => this.#begin(),
    );
    return this.#next;
  }

  /** Resolves when nobody waits any more, however that ended. */
  async idle(): Promise<void> {
    await Promise.allSettled([this.#current, this.#next]);
  }

  #begin(): Promise<void> {
    this.#next = undefined;
    const current = this.#run().finally(() => {
      if (this.#current === current) this.#current = undefined;
    });
    this.#current = current;
    return current;
  }

  async #run(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await this.#sync();
    } catch (thrown) {
      this.#failure = new BellowsError(
        'Unavailable',
        `The disk did not take what was written: ${messageOf(thrown)}.`,
        'Check the disk; Bellows reads what is there when it is started again.',
        { cause: thrown },
      );
      throw this.#failure;
    }
  }
}
