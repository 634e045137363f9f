// Shrinks that could not be applied yet: kept as what is desired, tried again until they fit or are superseded.
// Owns when to try; how is the callback's matter.
//
//   put ──▶ waiting ──tried, fits──▶ settled
//             ▲  │ tried, does not fit: the reason is renewed
//             └──┘
//   drop (superseded, or the owner is gone) ──▶ settled
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../sys/log.ts';

/** A look is a few small files; five times a second nobody notices it, and nobody waits long for what was freed. */
const pollMs = 200;
/** While a caller waits for the answer. */
const awaitedPollMs = 25;
/** A collection stops the application for tens of milliseconds: at most this often, and less and less. */
const firstTrimPauseMs = 3000;
const longestTrimPauseMs = 60_000;
/** After a limit had to be taken back, the owner's demand is changing: let it settle, longer each time. */
const firstRestPauseMs = 1000;
const longestRestPauseMs = 30_000;

export interface Deferral {
  readonly key: string;
  readonly wantedBytes: number;
  reason: string;
  notBeforeMs: number;
  restPauseMs: number;
  nextTrimMs: number;
  trimPauseMs: number;
  readonly settled: Promise<void>;
  readonly settle: () => void;
}

/** True: it is applied. Otherwise the entry's reason has been renewed. */
export type Retry = (entry: Deferral, mayTrim: boolean) => Promise<boolean>;

export class Deferrals {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #retry: Retry;
  readonly #entries = new Map<string, Deferral>();
  #timer: NodeJS.Timeout | undefined;
  #awaited = 0;
  #looking = false;
  #closed = false;

  constructor(options: { clock: Clock; log: Logger; retry: Retry }) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#retry = options.retry;
  }

  get(key: string): Deferral | undefined {
    return this.#entries.get(key);
  }

  /** @param options.resting after a limit was taken back: not at once again. */
  put(key: string, wantedBytes: number, reason: string, options: { resting: boolean }): Deferral {
    const earlier = this.drop(key);
    const nowMs = this.#clock.monotonicMs();
    const restPauseMs = Math.min((earlier?.restPauseMs ?? firstRestPauseMs / 2) * 2, longestRestPauseMs);
    const { promise, resolve } = Promise.withResolvers<void>();
    const entry: Deferral = {
      key,
      wantedBytes,
      reason,
      notBeforeMs: options.resting ? nowMs + restPauseMs : nowMs,
      restPauseMs: options.resting ? restPauseMs : firstRestPauseMs,
      // Who puts it here has just trimmed.
      nextTrimMs: nowMs + firstTrimPauseMs,
      trimPauseMs: firstTrimPauseMs,
      settled: promise,
      settle: resolve,
    };
    this.#entries.set(key, entry);
    this.#schedule();
    return entry;
  }

  drop(key: string): Deferral | undefined {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    entry?.settle();
    return entry;
  }

  /** Something has changed that may let one of them fit: looks now. */
  wake(): void {
    if (this.#entries.size === 0 || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), 0);
  }

  /** Returns when all of them are settled, or after `timeoutMs`. */
  async wait(entries: readonly Deferral[], timeoutMs: number): Promise<void> {
    if (entries.length === 0 || timeoutMs <= 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#awaited += 1;
    this.wake();
    try {
      await Promise.race([promise, Promise.all(entries.map((entry) => entry.settled))]);
    } finally {
      clearTimeout(timer);
      this.#awaited -= 1;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const key of [...this.#entries.keys()]) this.drop(key);
  }

  #schedule(): void {
    if (this.#closed || this.#looking || this.#entries.size === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), this.#awaited > 0 ? awaitedPollMs : pollMs);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    // One after the other: each may be what makes the next one fit.
    for (const entry of [...this.#entries.values()]) await this.#try(entry);
    this.#looking = false;
    this.#schedule();
  }

  async #try(entry: Deferral): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < entry.notBeforeMs || this.#entries.get(entry.key) !== entry) return;
    const mayTrim = nowMs >= entry.nextTrimMs;
    try {
      const applied = await this.#retry(entry, mayTrim);
      if (applied && this.#entries.get(entry.key) === entry) this.drop(entry.key);
    } catch (error) {
      entry.reason = `trying again failed: ${messageOf(error)}`;
      this.#log.warn(
        { key: entry.key, error: messageOf(error) },
        'a deferred change could not be tried again',
      );
    }
    if (!mayTrim) return;
    entry.trimPauseMs = Math.min(entry.trimPauseMs * 2, longestTrimPauseMs);
    entry.nextTrimMs = this.#clock.monotonicMs() + entry.trimPauseMs;
  }
}
