// What a simulation counts: starts, waiting, and memory times time. Owns sums; what they are compared with is the caller's matter.

export interface SimulationReport {
  readonly calls: number;
  /** Starts that a call waited for. */
  readonly coldStarts: number;
  /** Starts ahead of a call. */
  readonly prewarms: number;
  readonly trims: number;
  /** Idle instances that were ended to make room for others. */
  readonly evictions: number;
  /** Calls that found no room, though everything was taken back that could be; they were served when there was some. */
  readonly waitedForRoom: number;
  /** Calls that needed more than their instance was granted at that moment. Nothing rescues them here. */
  readonly ooms: number;
  /** Byte-milliseconds. */
  readonly grantedByteMs: number;
  readonly usedByteMs: number;
  readonly mostGrantedBytes: number;
  /** For each function, by its index: how many instances were busy at once at most. */
  readonly mostBusy: readonly number[];
}

export type Counter = 'calls' | 'coldStarts' | 'prewarms' | 'trims' | 'evictions' | 'waitedForRoom' | 'ooms';

export class Tally {
  readonly #counts: Record<Counter, number> = {
    calls: 0,
    coldStarts: 0,
    prewarms: 0,
    trims: 0,
    evictions: 0,
    waitedForRoom: 0,
    ooms: 0,
  };
  readonly #mostBusy: number[];
  #grantedBytes = 0;
  #usedBytes = 0;
  #grantedByteMs = 0;
  #usedByteMs = 0;
  #mostGrantedBytes = 0;
  #untilMs = 0;

  constructor(functions: number) {
    this.#mostBusy = Array.from({ length: functions }, () => 0);
  }

  get grantedBytes(): number {
    return this.#grantedBytes;
  }

  count(what: Counter): void {
    this.#counts[what] += 1;
  }

  busy(index: number, instances: number): void {
    this.#mostBusy[index] = Math.max(this.#mostBusy[index] ?? 0, instances);
  }

  /** From now on so much more (or less) is granted and used. */
  change(nowMs: number, grantedBytes: number, usedBytes: number): void {
    this.#advance(nowMs);
    this.#grantedBytes += grantedBytes;
    this.#usedBytes += usedBytes;
    this.#mostGrantedBytes = Math.max(this.#mostGrantedBytes, this.#grantedBytes);
  }

  report(endMs: number): SimulationReport {
    this.#advance(endMs);
    return {
      ...this.#counts,
      grantedByteMs: this.#grantedByteMs,
      usedByteMs: this.#usedByteMs,
      mostGrantedBytes: this.#mostGrantedBytes,
      mostBusy: this.#mostBusy,
    };
  }

  #advance(nowMs: number): void {
    const elapsedMs = nowMs - this.#untilMs;
    this.#grantedByteMs += this.#grantedBytes * elapsedMs;
    this.#usedByteMs += this.#usedBytes * elapsedMs;
    this.#untilMs = nowMs;
  }
}
