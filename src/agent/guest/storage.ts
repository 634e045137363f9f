// The scratch disk's claim: a file that takes space from everybody else in the file system and holds nothing. It costs the
// host nothing, for the space is trimmed before it is taken. Owns that file; what instances store is theirs.
import { existsSync, rmSync, statSync, truncateSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { mib } from '../../base/quantity.ts';
import { runProgram } from './run-program.ts';

/** Never claimed: the agent must be able to write its handles and logs. */
const agentReserveBytes = 16 * mib;

export interface FileSystemFigures {
  readonly totalBytes: number;
  /** Free for anybody, the claim not counted. */
  readonly freeBytes: number;
  readonly claimedBytes: number;
}

/** How large the claim is to be so that `usableBytes` of the file system are left; never what is in use. Pure. */
export function claimFor(
  usableBytes: number,
  { totalBytes, freeBytes, claimedBytes }: FileSystemFigures,
): number {
  const possible = Math.max(0, freeBytes + claimedBytes - agentReserveBytes);
  return Math.min(possible, Math.max(0, totalBytes - usableBytes));
}

export class Storage {
  readonly #directory: string;
  readonly #claimFile: string;
  #turn: Promise<unknown> = Promise.resolve();
  /** Free when it was last trimmed, or first looked at: more than that was deleted since. */
  #trimmedFreeBytes = 0;

  constructor(directory: string) {
    this.#directory = directory;
    this.#claimFile = join(directory, '.claim');
  }

  /** To be called once: what is free now was never used. */
  async open(): Promise<void> {
    this.#trimmedFreeBytes = (await this.figures()).freeBytes;
  }

  /** Whether a trim would bring anything; walking through all that is free takes an emulated machine seconds. */
  async hasFreed(): Promise<boolean> {
    return (await this.figures()).freeBytes > this.#trimmedFreeBytes;
  }

  async figures(): Promise<FileSystemFigures> {
    const { bsize, blocks, bavail } = await statfs(this.#directory);
    const claimedBytes = existsSync(this.#claimFile) ? statSync(this.#claimFile).blocks * 512 : 0;
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize, claimedBytes };
  }

  /** Claims or releases, one call after the other; answers what is left to use now. */
  setUsable(usableBytes: number): Promise<{ usableBytes: number; trimmedBytes: number }> {
    const run = this.#turn.then(() => this.#setUsable(usableBytes));
    this.#turn = run.catch(() => undefined);
    return run;
  }

  /** Tells the host which blocks hold nothing; answers how many bytes, by the kernel's word. */
  async trim(): Promise<number> {
    const said = await runProgram(['fstrim', '-v', this.#directory]);
    this.#trimmedFreeBytes = (await this.figures()).freeBytes;
    return Number(/\((\d+) bytes\)/.exec(said)?.[1] ?? 0);
  }

  async #setUsable(usableBytes: number): Promise<{ usableBytes: number; trimmedBytes: number }> {
    const before = await this.figures();
    const claimBytes = claimFor(usableBytes, before);
    if (claimBytes < before.claimedBytes) {
      if (claimBytes === 0) rmSync(this.#claimFile, { force: true });
      else truncateSync(this.#claimFile, claimBytes);
    }
    // Before it is claimed: blocks of the claim are not free, and would stay with the host's file.
    const trimmedBytes = await this.trim();
    if (claimBytes > before.claimedBytes)
      await runProgram(['fallocate', '-l', String(claimBytes), this.#claimFile]);
    const { totalBytes, claimedBytes } = await this.figures();
    return { usableBytes: totalBytes - claimedBytes, trimmedBytes };
  }
}
