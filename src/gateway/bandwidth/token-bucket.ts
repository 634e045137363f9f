// A rate, kept as a bucket that fills with it and holds what a moment brings: bytes that pass are taken out of it, and while
// it owes some, nothing more is to pass. Pure but for the clock, which it is given.

/** What may pass at once after a pause: one read of a socket at the slowest, 20 ms of a fast line. */
const minBurstBytes = 64 * 1024;
const burstMs = 20;

export class TokenBucket {
  readonly #nowMs: () => number;
  #bytesPerMs: number;
  #burstBytes: number;
  #tokens: number;
  #filledAtMs: number;
  /** Taken, and not told to other gateways. */
  #untold = 0;

  /** @param bytesPerSecond Infinity is no limit */
  constructor(bytesPerSecond: number, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#burstBytes = burstOf(bytesPerSecond);
    this.#tokens = this.#burstBytes;
    this.#filledAtMs = nowMs();
  }

  /** Holds from now on; what is owed is paid back at the new rate. */
  setRate(bytesPerSecond: number): void {
    if (bytesPerSecond / 1000 === this.#bytesPerMs) return;
    this.#fill();
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#burstBytes = burstOf(bytesPerSecond);
    this.#tokens = Math.min(this.#tokens, this.#burstBytes);
  }

  get bytesPerSecond(): number {
    return this.#bytesPerMs * 1000;
  }

  /** These bytes pass, whether there was room for them or not. */
  take(bytes: number): void {
    this.#tokens -= bytes;
    this.#untold += bytes;
  }

  /** How many were taken since it was asked last. */
  takeUntold(): number {
    const untold = this.#untold;
    this.#untold = 0;
    return untold;
  }

  /** These bytes have passed through another gateway. */
  passedElsewhere(bytes: number): void {
    // What came in meanwhile pays for them: a full bucket would not notice that it was late.
    this.#fill();
    this.#tokens -= bytes;
  }

  /** In how many milliseconds more may pass; 0 is now. */
  get delayMs(): number {
    // As a rule there is plenty, and no clock is read.
    if (this.#tokens >= 0) return 0;
    this.#fill();
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#bytesPerMs;
  }

  #fill(): void {
    const nowMs = this.#nowMs();
    // Endless by no time at all would be no number.
    if (this.#bytesPerMs === Number.POSITIVE_INFINITY) this.#tokens = this.#bytesPerMs;
    else
      this.#tokens = Math.min(this.#burstBytes, this.#tokens + (nowMs - this.#filledAtMs) * this.#bytesPerMs);
    this.#filledAtMs = nowMs;
  }
}

function burstOf(bytesPerSecond: number): number {
  return Math.max(minBurstBytes, (bytesPerSecond * burstMs) / 1000);
}
