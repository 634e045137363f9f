// Units that are made ahead of demand, and starts that wait for one. Owns how many are being made and the back-off when
// that fails. Which unit a start takes is placement.ts.
import type { Clock } from '../../base/clock.ts';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { Logger } from '../../sys/log.ts';
import type { FleetTuning } from './config.ts';
import type { FleetUnit } from './unit.ts';

/** More at once make each other slow: a clone takes a tenth of a second of one processor, an emulated one a second. */
const mostAtOnce = 2;

export interface WarmPoolParts {
  readonly provision: () => Promise<FleetUnit>;
  readonly warm: () => readonly FleetUnit[];
  /** Whether a start is under way, that a clone made meanwhile would hold up. */
  readonly busy: () => boolean;
  /** Memory that the host could give now, by the kernel's word. */
  readonly hostAvailableBytes: () => number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: FleetTuning;
  readonly onChange: (ready: number) => void;
}

interface Waiter {
  /** Takes a unit if there is one for it now. */
  readonly attempt: () => boolean;
}

export class WarmPool {
  readonly #parts: WarmPoolParts;
  readonly #waiting = new Set<Waiter>();
  readonly #underWay = new Set<Promise<void>>();
  #size = 0;
  #making = 0;
  #pauseMs = 0;
  #retry: NodeJS.Timeout | undefined;
  #lastFailure: string | undefined;
  #closed = false;

  constructor(parts: WarmPoolParts) {
    this.#parts = parts;
  }

  get ready(): number {
    return this.#parts.warm().length;
  }

  setSize(size: number): void {
    this.#size = size;
    this.fill();
  }

  /**
   * What `find` finds, now or as soon as there is a unit for it.
   * @throws BellowsError NoRoom when there was none until `deadlineMs`, with why
   */
  take(find: () => FleetUnit | undefined, deadlineMs: number): Promise<FleetUnit> {
    const found = find();
    if (found !== undefined) {
      this.fill();
      return Promise.resolve(found);
    }
    const { clock } = this.#parts;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        attempt: () => {
          const unit = find();
          if (unit === undefined) return false;
          this.#waiting.delete(waiter);
          clearTimeout(timer);
          resolve(unit);
          return true;
        },
      };
      const timer = setTimeout(
        () => {
          this.#waiting.delete(waiter);
          const why = this.#lastFailure ?? 'those that are being made are not ready';
          reject(
            new BellowsError(
              'NoRoom',
              `No virtual machine was to be had in time: ${why}.`,
              'Try again, end what is not needed, or keep more ready (bellows up --pool).',
            ),
          );
        },
        Math.max(0, deadlineMs - clock.monotonicMs()),
      );
      this.#waiting.add(waiter);
      this.fill();
    });
  }

  /** A unit has come, or room has: whoever waits looks again. */
  wake(): void {
    for (const waiter of this.#waiting) waiter.attempt();
    this.fill();
  }

  /** Makes as many as are wanted and waited for, a few at once. */
  fill(): void {
    if (this.#closed || this.#retry !== undefined) return;
    while (this.#making < mostAtOnce && this.#missing() > 0) {
      this.#making += 1;
      const making = this.#make().finally(() => this.#underWay.delete(making));
      this.#underWay.add(making);
    }
  }

  /** Begins no more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
  }

  /** Resolves when none is being made. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  #missing(): number {
    const ahead = this.#parts.busy() ? 0 : this.#size;
    return ahead + this.#waiting.size - this.ready - this.#making;
  }

  async #make(): Promise<void> {
    const { provision, log, onChange } = this.#parts;
    try {
      this.#checkRoom();
      await provision();
      this.#pauseMs = 0;
      this.#lastFailure = undefined;
    } catch (thrown) {
      this.#lastFailure = messageOf(thrown).replace(/\.$/, '');
      this.#backOff();
      const level = thrown instanceof BellowsError && thrown.code === 'NoRoom' ? 'warn' : 'error';
      log[level]({ err: thrown, retryMs: this.#pauseMs }, 'a virtual machine could not be made');
    } finally {
      this.#making -= 1;
    }
    onChange(this.ready);
    this.wake();
  }

  #checkRoom(): void {
    const { hostAvailableBytes, tuning } = this.#parts;
    const availableBytes = hostAvailableBytes();
    if (availableBytes >= tuning.hostReserveBytes + tuning.cloneBytes) return;
    throw new BellowsError(
      'NoRoom',
      `The host has only ${humanBytes(availableBytes)} of memory available, and keeps ${humanBytes(tuning.hostReserveBytes)} for itself.`,
      'End what is not needed, or lower limits: bellows top shows who has what.',
    );
  }

  #backOff(): void {
    const { cloneRetryFirstMs, cloneRetryLongestMs } = this.#parts.tuning;
    this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, cloneRetryFirstMs), cloneRetryLongestMs);
    clearTimeout(this.#retry);
    if (this.#closed) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.fill();
    }, this.#pauseMs).unref();
  }
}
