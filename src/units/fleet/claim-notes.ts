// Which moves of a unit's claim are told to the audit log: not each of the balloon's, but where it has come to when that is
// far from what was told last. Pure but for its state, with time passed in.

/** Half of Lambda's smallest function: what is less changes nothing for anybody. */
const notableBytes = 64 * 1024 * 1024;
/**
 * Between two notes of one unit that follow from what its instances do, above all from being frozen and thawed: at a hundred
 * units the log's 10,000 entries still go back for hours. What somebody asked for, and emergencies, are always told.
 */
const pauseMs = 300_000;

export interface ClaimNote {
  readonly what: 'claimed' | 'released';
  readonly beforeBytes: number;
  readonly afterBytes: number;
  readonly why: string;
}

export class ClaimNotes {
  #toldBytes: number;
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(claimedBytes: number) {
    this.#toldBytes = claimedBytes;
  }

  /** What follows from grants and from instances at rest: told with what it was when it was told last. */
  moved(claimedBytes: number, nowMs: number): ClaimNote | undefined {
    return nowMs - this.#toldAtMs < pauseMs
      ? undefined
      : this.#note(this.#toldBytes, claimedBytes, '', nowMs);
  }

  /** What was asked for, or an emergency. */
  caused(beforeBytes: number, claimedBytes: number, why: string, nowMs: number): ClaimNote | undefined {
    return this.#note(beforeBytes, claimedBytes, why, nowMs);
  }

  #note(beforeBytes: number, afterBytes: number, why: string, nowMs: number): ClaimNote | undefined {
    if (Math.abs(afterBytes - beforeBytes) < notableBytes) return undefined;
    this.#toldBytes = afterBytes;
    this.#toldAtMs = nowMs;
    return { what: afterBytes > beforeBytes ? 'claimed' : 'released', beforeBytes, afterBytes, why };
  }
}
