// Looks after a group for a while after its memory limit was lowered, and takes that back at once when it proves too low.
//
//   begin ──▶ watched, out-of-memory held ──2 s pass──▶ hold ends, the limit stays
//                  │  │
//       grown past │  │ strained: near the limit, or a process waits at it
//     the old limit▼  ▼
//                ended  old limit restored, hold ends, onStrained
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import { mib } from '../../base/quantity.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import type { MemoryHolds } from './memory-holds.ts';

/** An application that was told to shrink has gone through its next requests and collections by then. */
const windowMs = 2000;
/** A look costs about 40 µs for each group; a process that runs into the limit meanwhile waits no longer than this. */
const lookEveryMs = 10;
/** The kernel charges in batches of 64 pages for each CPU: a group can be this near without having asked for more. */
export const nearBytes = 2 * mib;

interface Watch {
  readonly group: GroupPath;
  readonly untilMs: number;
  readonly restoreBytes: number | null;
  readonly limitHits: number;
}

export class ShrinkWatch {
  readonly #cgroup: Cgroup;
  readonly #holds: MemoryHolds;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onStrained: (key: string) => void;
  readonly #watches = new Map<string, Watch>();
  #timer: NodeJS.Timeout | undefined;

  /** @param options.onStrained is called after the old limit stands again. */
  constructor(options: {
    cgroup: Cgroup;
    holds: MemoryHolds;
    clock: Clock;
    log: Logger;
    onStrained: (key: string) => void;
  }) {
    this.#cgroup = options.cgroup;
    this.#holds = options.holds;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#onStrained = options.onStrained;
  }

  /** Lowers the limit under a hold and watches; `busy` leaves everything as it was. */
  async lower(
    key: string,
    group: GroupPath,
    fromBytes: number | null,
    toBytes: number,
  ): Promise<'applied' | 'busy'> {
    const earlier = this.#watches.get(key);
    this.#holds.hold(group, 'shrink');
    const { limitHits } = this.#cgroup.memoryStrain(group);
    // Before the write, so that whoever runs into the limit during it is seen.
    const restoreBytes = earlier === undefined ? fromBytes : larger(earlier.restoreBytes, fromBytes);
    const watch = { group, untilMs: this.#clock.monotonicMs() + windowMs, restoreBytes, limitHits };
    let outcome: 'applied' | 'busy' = 'busy';
    try {
      outcome = await this.#cgroup.setLimits(group, { memoryBytes: toBytes });
    } finally {
      if (outcome === 'busy' && earlier === undefined) this.#holds.release(group, 'shrink');
    }
    if (outcome === 'applied') {
      this.#watches.set(key, watch);
      // The earlier watch may have ended its hold during the write.
      this.#holds.hold(group, 'shrink');
      this.#timer ??= setInterval(() => this.#look(), lookEveryMs);
    }
    return outcome;
  }

  /** The limit was raised by request: below the old one it is still a shrink that must prove itself. */
  raised(key: string, toBytes: number | null): void {
    const watch = this.#watches.get(key);
    if (watch === undefined) return;
    if (larger(watch.restoreBytes, toBytes) === toBytes) this.end(key);
  }

  /** Nobody looks after it for having been lowered any more. */
  end(key: string): void {
    const watch = this.#watches.get(key);
    if (watch === undefined) return;
    this.#watches.delete(key);
    this.#holds.release(watch.group, 'shrink');
    this.#rest();
  }

  /** Ends all watches; a hold without a watch would let a process wait for ever. */
  close(): void {
    for (const [key, watch] of [...this.#watches]) {
      if (this.#isStrained(watch)) void this.#restore(key, watch);
      else this.end(key);
    }
  }

  #rest(): void {
    if (this.#watches.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    for (const [key, watch] of [...this.#watches]) {
      try {
        if (this.#isStrained(watch)) void this.#restore(key, watch);
        else if (this.#clock.monotonicMs() >= watch.untilMs) this.end(key);
      } catch (error) {
        this.#log.error({ key, error: messageOf(error) }, 'a lowered memory limit could not be watched');
        this.end(key);
      }
    }
  }

  #isStrained(watch: Watch): boolean {
    const strain = this.#cgroup.memoryStrain(watch.group);
    if (strain.waiting) return true;
    const edgeBytes = (strain.limitBytes ?? Number.POSITIVE_INFINITY) - nearBytes;
    if (strain.memoryBytes < edgeBytes && strain.limitHits === watch.limitHits) return false;
    // Cache may fill a group up to its limit and is dropped again: only what can not be dropped counts.
    return this.#cgroup.usage(watch.group).workingSetBytes >= edgeBytes;
  }

  /** The limit rises before the hold ends: the other way round the kernel would kill who waits. */
  async #restore(key: string, watch: Watch): Promise<void> {
    this.#watches.delete(key);
    try {
      await this.#cgroup.setLimits(watch.group, { memoryBytes: watch.restoreBytes });
    } catch (error) {
      this.#log.error({ key, error: messageOf(error) }, 'an old memory limit could not be restored');
    }
    // A new shrink may have begun meanwhile: then the hold is that one's.
    if (!this.#watches.has(key)) {
      this.#watches.set(key, watch);
      this.end(key);
    }
    this.#onStrained(key);
  }
}

function larger(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.max(a, b);
}
