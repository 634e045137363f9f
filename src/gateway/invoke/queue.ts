// Requests that wait for an instance: first come, first served, bounded in number and bytes. Pure.

export interface Queued {
  readonly eventBytes: number;
  /** Set when nobody wants the answer any more; it is then skipped, and no longer counted. */
  cancelled: boolean;
  /** When it began to wait, monotonic milliseconds; NaN before. */
  queuedAtMs: number;
  /** How many had been taken from the queue when it began to wait. */
  takenBefore: number;
}

export interface QueueLimits {
  readonly maxWaiting: number;
  readonly maxWaitingBytes: number;
}

export class WaitingQueue<T extends Queued> {
  readonly #limits: QueueLimits;
  /** A ring would save the occasional shift of what is left, but queues are short and shift is quick for short arrays. */
  #items: T[] = [];
  #size = 0;
  #bytes = 0;
  #taken = 0;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  /** How many wait, without the cancelled. */
  get size(): number {
    return this.#size;
  }

  /** How many were taken from it so far. */
  get taken(): number {
    return this.#taken;
  }

  hasRoomFor({ eventBytes }: Pick<Queued, 'eventBytes'>): boolean {
    return this.#size < this.#limits.maxWaiting && this.#bytes + eventBytes <= this.#limits.maxWaitingBytes;
  }

  push(item: T, nowMs: number): void {
    item.queuedAtMs = nowMs;
    item.takenBefore = this.#taken;
    this.#items.push(item);
    this.#count(item, 1);
  }

  /** Puts back in front what was already sent once, in its order; limits do not apply to it. Who waited before has waited since. */
  unshift(items: readonly T[], nowMs: number): void {
    const wanted = items.filter((item) => !item.cancelled);
    this.#items.unshift(...wanted);
    for (const item of wanted) {
      if (Number.isNaN(item.queuedAtMs)) item.queuedAtMs = nowMs;
      item.takenBefore = this.#taken;
      this.#count(item, 1);
    }
  }

  shift(): T | undefined {
    for (;;) {
      const item = this.#items.shift();
      if (item === undefined) return undefined;
      if (item.cancelled) continue;
      this.#count(item, -1);
      this.#taken += 1;
      return item;
    }
  }

  /** The one that waits longest. */
  peek(): T | undefined {
    while (this.#items[0]?.cancelled === true) this.#items.shift();
    return this.#items[0];
  }

  /** Takes an item out of the count; `false` when it does not wait here any more. */
  cancel(item: T): boolean {
    if (item.cancelled || !this.#items.includes(item)) return false;
    item.cancelled = true;
    this.#count(item, -1);
    // Cancelled ones must not pile up behind one that waits.
    if (this.#items.length > 2 * this.#size + 16)
      this.#items = this.#items.filter(({ cancelled }) => !cancelled);
    return true;
  }

  /** Empties the queue. */
  takeAll(): T[] {
    const all = this.#items.filter(({ cancelled }) => !cancelled);
    this.#items = [];
    this.#size = 0;
    this.#bytes = 0;
    return all;
  }

  #count(item: T, sign: 1 | -1): void {
    this.#size += sign;
    this.#bytes += sign * item.eventBytes;
  }
}
