// When the calls of one function come, for each number of instances that they keep busy: the second instance of a function
// idles longer than the first, the eighth longer still. Owns what is known of a function; what follows is ./windows.ts.
//
// An instance is used again the sooner the later it was used last. So who is idle stands on a stack, and how long a place on it
// was idle is known also when nobody stands there any more.
import { binMs, IdleHistory, type StoredIdleHistory } from './idle-history.ts';
import { windowsOf, type Windows } from './windows.ts';

/** So many places on the stack are remembered: who is used when a hundred others are is no matter of minutes. */
const mostPlaces = 128;

export interface StoredArrivals {
  readonly bands: readonly StoredIdleHistory[];
  readonly freedAtMs: readonly number[];
}

interface Band {
  readonly history: IdleHistory;
  windows: Windows | null;
  decidedAtMs: number;
}

export class FunctionArrivals {
  /** Of the 1st instance, the 2nd and 3rd, the 4th to 7th and so on. */
  readonly #bands: Band[] = [];
  /** When each place on the stack became idle, the one that is used next last. */
  readonly #freedAtMs: number[] = [];

  /** A call comes while `busy` others run. */
  called(busy: number, nowMs: number): void {
    const freedAtMs = this.#freedAtMs.pop();
    if (freedAtMs !== undefined) this.#band(busy + 1).history.observe(nowMs - freedAtMs, nowMs);
  }

  ended(nowMs: number): void {
    this.#freedAtMs.push(nowMs);
    if (this.#freedAtMs.length > mostPlaces) this.#freedAtMs.shift();
  }

  /** When the instance that is used next became idle, as far as is known: also when it is gone since. */
  get lastEndedMs(): number | null {
    return this.#freedAtMs.at(-1) ?? null;
  }

  /**
   * For the instance that is used when `depth` are. There is none to be started ahead but the first: where others run, the
   * gateway sends no call to a start that it could send to them.
   */
  windows(depth: number, nowMs: number, decide: typeof windowsOf = windowsOf): Windows {
    const band = this.#band(depth);
    // They follow from minutes: to ask anew sooner than after one changes nothing.
    if (band.windows === null || nowMs - band.decidedAtMs >= binMs) {
      band.windows = decide(band.history, nowMs);
      band.decidedAtMs = nowMs;
    }
    const { prewarmAfterMs, keepAliveMs, from } = band.windows;
    return depth === 1
      ? band.windows
      : { prewarmAfterMs: 0, keepAliveMs: prewarmAfterMs + keepAliveMs, from };
  }

  toStored(nowMs: number): StoredArrivals {
    return {
      bands: this.#bands.map(({ history }) => history.toStored(nowMs)),
      freedAtMs: [...this.#freedAtMs],
    };
  }

  static fromStored({ bands, freedAtMs }: StoredArrivals): FunctionArrivals {
    const arrivals = new FunctionArrivals();
    for (const stored of bands) arrivals.#bands.push(newBand(IdleHistory.fromStored(stored)));
    arrivals.#freedAtMs.push(...freedAtMs);
    return arrivals;
  }

  #band(depth: number): Band {
    const index = Math.floor(Math.log2(Math.max(1, depth)));
    while (this.#bands.length <= index) this.#bands.push(newBand(new IdleHistory()));
    return this.#bands[index] ?? newBand(new IdleHistory());
  }
}

function newBand(history: IdleHistory): Band {
  return { history, windows: null, decidedAtMs: 0 };
}
