// The balloon of one unit: takes memory from the guest and gives it back, and knows by QEMU's word how much the guest has.
// Owns waiting for the guest to follow, noticing that it does not, and that giving back comes before taking. How much
// can be taken is the guest's agent's answer.
//
//   resting ──claim──▶ inflating ──there──▶ resting
//      ▲                   │
//      └──── release ◀─────┴── no progress: everything is given back
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from './machine/machine.ts';

/** A guest that makes no progress at all for so long does not mean to: under emulation a MiB takes 10 ms. */
const stalledAfterMs = 3_000;
const pollMs = { first: 5, longest: 50 } as const;
/** What a balloon takes and gives is pages. */
const pageBytes = 4096;
/** Giving back asks nothing of the guest but to notice. */
const releaseMs = 10_000;

export interface BalloonChange {
  /** What the guest does not have, afterwards. */
  readonly claimedBytes: number;
  readonly stalled: boolean;
}

export class Balloon {
  readonly #machine: Pick<Machine, 'execute'>;
  readonly #ramBytes: number;
  #claimedBytes = 0;
  /** Counts releases: a claim that sees another number than it began with ends. */
  #releases = 0;
  #claims: Promise<unknown> = Promise.resolve();

  constructor(machine: Pick<Machine, 'execute'>, ramBytes: number) {
    this.#machine = machine;
    this.#ramBytes = ramBytes;
  }

  /** As of the last look. */
  get claimedBytes(): number {
    return this.#claimedBytes;
  }

  /** Asks QEMU. */
  async look(): Promise<number> {
    const { actual } = await this.#machine.execute('query-balloon', {});
    this.#claimedBytes = Math.max(0, this.#ramBytes - actual);
    return this.#claimedBytes;
  }

  /** @param howMuch asked when the turn comes, since an earlier claim may have taken it: bytes, at most. */
  claim(howMuch: () => Promise<number>): Promise<BalloonChange> {
    const releases = this.#releases;
    const claim = this.#claims.then(() => this.#claim(howMuch, releases));
    this.#claims = claim.catch(() => undefined);
    return claim;
  }

  /** At once, also in the midst of a claim, which ends then. */
  async release(bytes: number): Promise<BalloonChange> {
    this.#releases += 1;
    const left = Math.max(0, (await this.look()) - bytes);
    return this.#follow(left, this.#releases, releaseMs);
  }

  async #claim(howMuch: () => Promise<number>, releases: number): Promise<BalloonChange> {
    const bytes = await howMuch();
    const before = await this.look();
    if (bytes <= 0 || releases !== this.#releases) return { claimedBytes: before, stalled: false };
    const change = await this.#follow(before + bytes, releases, stalledAfterMs);
    if (!change.stalled) return change;
    await this.release(Number.POSITIVE_INFINITY);
    return { claimedBytes: this.#claimedBytes, stalled: true };
  }

  /** Sets what is to be claimed and waits until it is, until another change overtakes it, or nothing moves any more. */
  async #follow(bytes: number, releases: number, patienceMs: number): Promise<BalloonChange> {
    const wantedBytes = Math.floor(bytes / pageBytes) * pageBytes;
    await this.#machine.execute('balloon', { value: this.#ramBytes - wantedBytes });
    let last = this.#claimedBytes;
    let movedAtMs = performance.now();
    for (let pauseMs: number = pollMs.first; ; pauseMs = Math.min(pauseMs * 2, pollMs.longest)) {
      const claimed = await this.look();
      if (claimed === wantedBytes || releases !== this.#releases)
        return { claimedBytes: claimed, stalled: false };
      if (claimed !== last) [last, movedAtMs] = [claimed, performance.now()];
      if (performance.now() - movedAtMs > patienceMs) return { claimedBytes: claimed, stalled: true };
      await sleep(pauseMs);
    }
  }
}
