// When SQLite's log is moved into the database. Owns the moment, and what becomes of it on a full disk; the move is its caller's.
import { isDiskFull } from '../../base/errors.ts';

/**
 * Moving the log into the database takes two syncs of this thread, 1 to 30 ms: in a pause, and only without one when the
 * log has become as long as it may be.
 */
export const checkpointAfterMs = 500;
/** Until the next try on a full disk, which somebody has to make room on first. */
export const fullDiskPauseMs = 10_000;

export class Checkpoint {
  readonly #move: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param move moves the log; what it throws of anything but a full disk is thrown on */
  constructor(move: () => void) {
    this.#move = move;
  }

  /** Something was written: not before the next pause. */
  later(): void {
    this.#in(checkpointAfterMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #in(milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#try(), milliseconds).unref();
  }

  #try(): void {
    this.#timer = undefined;
    try {
      this.#move();
    } catch (thrown) {
      // Nothing is lost: the log holds all, is read from, and has its length from the beginning. Who writes what does not fit hears it.
      if (!isDiskFull(thrown)) throw thrown;
      this.#in(fullDiskPauseMs);
    }
  }
}
