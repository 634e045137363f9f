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
  /** Instances times milliseconds, from being started to being gone. */
  readonly instanceMs: number;
  /** Calls that waited for longer than half a start takes. */
  readonly slowCalls: number;
  /** Every so often, when that was asked for. */
  readonly moments: readonly Moment[];
  /** For each function, by its index: how many instances were busy at once at most. */
  readonly mostBusy: readonly number[];
}

/** What there was at one moment. */
export interface Moment {
  readonly atMs: number;
  readonly instances: number;
  readonly grantedBytes: number;
  readonly usedBytes: number;
}

export type Counter =
  'calls' | 'coldStarts' | 'prewarms' | 'trims' | 'evictions' | 'waitedForRoom' | 'slowCalls' | 'ooms';

export class Tally {
  readonly #counts: Record<Counter, number> = {
    calls: 0,
    coldStarts: 0,
    prewarms: 0,
    trims: 0,
    evictions: 0,
    waitedForRoom: 0,
    slowCalls: 0,
    ooms: 0,
  };
  readonly #mostBusy: number[];
  readonly #momentEveryMs: number;
  readonly #moments: Moment[] = [];
  #instances = 0;
  #instanceMs = 0;
  #grantedBytes = 0;
  #usedBytes = 0;
  #grantedByteMs = 0;
  #usedByteMs = 0;
  #mostGrantedBytes = 0;
  #untilMs = 0;

  /** @param momentEveryMs Infinity keeps no moments */
  constructor(functions: number, momentEveryMs: number) {
    this.#momentEveryMs = momentEveryMs;
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

  /** One more instance, or one less. */
  instances(nowMs: number, more: 1 | -1): void {
    this.#advance(nowMs);
    this.#instances += more;
  }

  report(endMs: number): SimulationReport {
    this.#advance(endMs);
    return {
      ...this.#counts,
      grantedByteMs: this.#grantedByteMs,
      usedByteMs: this.#usedByteMs,
      mostGrantedBytes: this.#mostGrantedBytes,
      instanceMs: this.#instanceMs,
      moments: this.#moments,
      mostBusy: this.#mostBusy,
    };
  }

  #advance(nowMs: number): void {
    for (
      let atMs = this.#momentEveryMs * (this.#moments.length + 1);
      atMs <= nowMs;
      atMs += this.#momentEveryMs
    ) {
      const instances = this.#instances;
      this.#moments.push({
        atMs,
        instances,
        grantedBytes: this.#grantedBytes,
        usedBytes: this.#usedBytes,
      });
    }
    const elapsedMs = nowMs - this.#untilMs;
    this.#instanceMs += this.#instances * elapsedMs;
    this.#grantedByteMs += this.#grantedBytes * elapsedMs;
    this.#usedByteMs += this.#usedBytes * elapsedMs;
    this.#untilMs = nowMs;
  }
}
