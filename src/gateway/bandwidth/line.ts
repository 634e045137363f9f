// What all traffic of one owner goes over, both ways: its own bucket and its tenant's, for each direction. Owns asking all of
// them. Does not own rates (lines.ts), nor the bytes.
import type { TokenBucket } from './token-bucket.ts';

/** From the client, or to it. */
export type Direction = 'in' | 'out';

/** One owner's rate each way. */
export interface Rates {
  readonly in: TokenBucket;
  readonly out: TokenBucket;
}

/** Counts and waits where there is a line; goes on at once where there is none. */
export function paced(line: Line | undefined, direction: Direction, bytes: number, then: () => void): void {
  if (line === undefined) then();
  else line.send(direction, bytes, then);
}

/** A rate that changes meanwhile counts from the next look on. */
const longestWaitMs = 100;

export class Line {
  readonly #own: Rates;
  readonly #tenant: Rates;

  constructor(own: Rates, tenant: Rates) {
    this.#own = own;
    this.#tenant = tenant;
  }

  /** What it may carry each way. */
  get bytesPerSecond(): number {
    return Math.min(this.#own.out.bytesPerSecond, this.#tenant.out.bytesPerSecond);
  }

  take(direction: Direction, bytes: number): void {
    bucketOf(this.#own, direction).take(bytes);
    bucketOf(this.#tenant, direction).take(bytes);
  }

  /** Whether more may pass now. */
  isFree(direction: Direction): boolean {
    return this.#delayMs(direction) === 0;
  }

  /** Calls back when more may pass: at once, in this turn, when it may now. */
  whenFree(direction: Direction, then: () => void): void {
    const delayMs = this.#delayMs(direction);
    if (delayMs === 0) then();
    else setTimeout(() => this.whenFree(direction, then), Math.min(Math.ceil(delayMs), longestWaitMs));
  }

  /** Calls back as {@link whenFree}, and counts what is sent then. */
  send(direction: Direction, bytes: number, then: () => void): void {
    if (this.isFree(direction)) {
      this.take(direction, bytes);
      then();
      return;
    }
    this.whenFree(direction, () => {
      this.take(direction, bytes);
      then();
    });
  }

  #delayMs(direction: Direction): number {
    return Math.max(bucketOf(this.#own, direction).delayMs, bucketOf(this.#tenant, direction).delayMs);
  }
}

/** Not by index: a request asks eight times, and a name that varies is looked up anew each time. */
function bucketOf(rates: Rates, direction: Direction): TokenBucket {
  return direction === 'in' ? rates.in : rates.out;
}
