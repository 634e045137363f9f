// Looks after a group for a while after its memory limit was lowered, and takes that back at once when it proves too low.
//
//   begin ──▶ watched, out-of-memory held ──2 s pass──▶ hold ends, the limit stays
//                  │  │
//       grown past │  │ strained: near the limit, or a process waits at it
//     the old limit▼  ▼
//                ended  old limit restored, hold ends, onStrained
//
// The kernel tells when a watched group comes near its limit. It is looked at only until that is arranged, and while cache alone
// fills it: looks at every group, a hundred a second for two seconds, were a third of what a lowered limit cost the agent.
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import { mib } from '../../base/quantity.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup, GroupPath, MemoryWatch } from '../cgroup/port.ts';
import type { MemoryHolds } from './memory-holds.ts';

/** An application that was told to shrink has gone through its next requests and collections by then. */
const windowMs = 2000;
/** A look costs about 40 µs for each group; a process that runs into the limit meanwhile waits no longer than this. */
const lookEveryMs = 10;
/** The kernel charges in batches of 64 pages for each CPU: a group can be this near without having asked for more. */
export const nearBytes = 2 * mib;

interface Lowered {
  readonly group: GroupPath;
  readonly limitBytes: number;
  readonly restoreBytes: number | null;
  readonly limitHits: number;
  readonly untilMs: number;
}

interface Watch extends Lowered {
  readonly window: NodeJS.Timeout;
  /** Arranged with the first look: nobody who asked for the change waits for that. */
  signal: MemoryWatch | undefined;
  isTold: boolean;
}

export class ShrinkWatch {
  readonly #cgroup: Cgroup;
  readonly #holds: MemoryHolds;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onStrained: (key: string) => void;
  readonly #watches = new Map<string, Watch>();
  /** Those that have to be looked at: of which the kernel does not tell, or which cache fills. */
  readonly #looked = new Map<string, Watch>();
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
    // Before the write, so that whoever runs into the limit during it is seen.
    const { limitHits } = this.#cgroup.memoryStrain(group);
    const untilMs = this.#clock.monotonicMs() + windowMs;
    const restoreBytes = earlier === undefined ? fromBytes : larger(earlier.restoreBytes, fromBytes);
    let outcome: 'applied' | 'busy' = 'busy';
    try {
      outcome = await this.#cgroup.setLimits(group, { memoryBytes: toBytes });
    } finally {
      if (outcome === 'busy' && earlier === undefined) this.#holds.release(group, 'shrink');
    }
    if (outcome === 'applied')
      this.#begin(key, { group, restoreBytes, limitHits, untilMs, limitBytes: toBytes });
    return outcome;
  }

  /** The limit was raised by request: below the old one it is still a shrink that must prove itself. */
  raised(key: string, toBytes: number | null): void {
    const watch = this.#watches.get(key);
    if (watch === undefined) return;
    if (larger(watch.restoreBytes, toBytes) === toBytes) this.end(key);
    // What it comes near to lies higher now.
    else if (toBytes !== null) this.#begin(key, { ...watch, limitBytes: toBytes });
  }

  /** Nobody looks after it for having been lowered any more. */
  end(key: string): void {
    const watch = this.#forget(key);
    if (watch !== undefined) this.#holds.release(watch.group, 'shrink');
  }

  /** Ends all watches; a hold without a watch would let a process wait for ever. */
  close(): void {
    for (const [key, watch] of [...this.#watches]) {
      if (this.#isStrained(watch)) void this.#restore(key, watch);
      else this.end(key);
    }
  }

  /** In the place of an earlier watch, if there is one. */
  #begin(key: string, { group, limitBytes, restoreBytes, limitHits, untilMs }: Lowered): void {
    this.#forget(key);
    const leftMs = Math.max(0, untilMs - this.#clock.monotonicMs());
    const window = setTimeout(() => this.#prove(key, watch), leftMs);
    const lowered = { group, limitBytes, restoreBytes, limitHits, untilMs };
    const watch: Watch = { ...lowered, window, signal: undefined, isTold: false };
    this.#watches.set(key, watch);
    // An earlier watch may have ended its hold during the write.
    this.#holds.hold(group, 'shrink');
    this.#lookOn(key, watch);
  }

  /** From when the kernel tells, it is not looked at any more; where it does not, it goes on being. */
  #arrange(key: string, watch: Watch): void {
    const nearAtBytes = watch.limitBytes - nearBytes;
    watch.signal = this.#cgroup.watchMemory(watch.group, nearAtBytes, () => this.#look(key, watch));
    watch.signal.tells.then(
      (told) => {
        watch.isTold = told;
        // What it had come to before that is told by nobody.
        this.#look(key, watch);
      },
      (error: unknown) =>
        this.#log.error(
          { key, error: messageOf(error) },
          'the kernel could not be asked to tell of a lowered limit',
        ),
    );
  }

  #forget(key: string): Watch | undefined {
    const watch = this.#watches.get(key);
    if (watch === undefined) return undefined;
    this.#watches.delete(key);
    clearTimeout(watch.window);
    watch.signal?.stop();
    this.#lookNoMore(key);
    return watch;
  }

  #lookOn(key: string, watch: Watch): void {
    this.#looked.set(key, watch);
    this.#timer ??= setInterval(() => {
      for (const [each, looked] of [...this.#looked]) this.#look(each, looked);
    }, lookEveryMs);
  }

  #lookNoMore(key: string): void {
    this.#looked.delete(key);
    if (this.#looked.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(key: string, watch: Watch): void {
    if (this.#watches.get(key) !== watch) return;
    try {
      const strain = this.#strain(watch);
      if (strain === 'strained') {
        void this.#restore(key, watch);
        return;
      }
      if (watch.signal === undefined) this.#arrange(key, watch);
      if (strain === 'full of cache' || !watch.isTold) this.#lookOn(key, watch);
      else this.#lookNoMore(key);
    } catch (error) {
      this.#log.error({ key, error: messageOf(error) }, 'a lowered memory limit could not be watched');
      this.end(key);
    }
  }

  /** Its window has passed: the limit stays unless it is too low at this moment. */
  #prove(key: string, watch: Watch): void {
    this.#look(key, watch);
    if (this.#watches.get(key) === watch) this.end(key);
  }

  #isStrained(watch: Watch): boolean {
    return this.#strain(watch) === 'strained';
  }

  #strain(watch: Watch): 'easy' | 'full of cache' | 'strained' {
    const strain = this.#cgroup.memoryStrain(watch.group);
    if (strain.waiting) return 'strained';
    const edgeBytes = (strain.limitBytes ?? Number.POSITIVE_INFINITY) - nearBytes;
    const isCharged = strain.memoryBytes >= edgeBytes;
    if (!isCharged && strain.limitHits === watch.limitHits) return 'easy';
    // Cache may fill a group up to its limit and is dropped again: only what can not be dropped counts.
    if (this.#cgroup.usage(watch.group).workingSetBytes >= edgeBytes) return 'strained';
    return isCharged ? 'full of cache' : 'easy';
  }

  /** The limit rises before the hold ends: the other way round the kernel would kill who waits. */
  async #restore(key: string, watch: Watch): Promise<void> {
    this.#forget(key);
    try {
      await this.#cgroup.setLimits(watch.group, { memoryBytes: watch.restoreBytes });
    } catch (error) {
      this.#log.error({ key, error: messageOf(error) }, 'an old memory limit could not be restored');
    }
    // A new shrink may have begun meanwhile: then the hold is that one's.
    if (!this.#watches.has(key)) this.#holds.release(watch.group, 'shrink');
    this.#onStrained(key);
  }
}

function larger(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.max(a, b);
}
