// The scratch disk's claim: a file that takes space from everybody else in the file system and holds nothing. It costs the
// host nothing, for the space is trimmed before it is taken. Owns that file, and telling the host what is free; what
// instances store is in images of their own on the same disk (sandbox/scratch-images.ts), which may not run out of it.
//
//   disk = claimed + left to instances (their images, and what these may grow by) + own (code, logs, file systems' own)
import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import { humanBytes, mib } from '../../base/quantity.ts';
import { guestOwnStorageBytes } from '../../protocol/guest.ts';
import { layoutOf } from '../../sys/layout.ts';
import { runProgram } from './run-program.ts';

/** Never claimed, whatever else there is: the agent must be able to write its handles and logs. */
const agentReserveBytes = 16 * mib;
/** Less than this is not worth a trim that nobody asked for: it starts a program. */
const worthTrimmingBytes = 8 * mib;
/** Where the kernel counts what is written to the scratch disk; its seventh figure is sectors of 512 bytes. */
const diskFigures = '/sys/block/vdb/stat';
const sectorBytes = 512;

export interface FileSystemFigures {
  readonly totalBytes: number;
  /** Free for anybody, the claim not counted. */
  readonly freeBytes: number;
  readonly claimedBytes: number;
  /** What instances' images take. */
  readonly imagesBytes: number;
}

/** What is to stay free for everybody but instances. */
function ownRoom({ totalBytes, freeBytes, claimedBytes, imagesBytes }: FileSystemFigures): number {
  const ownBytes = totalBytes - freeBytes - claimedBytes - imagesBytes;
  return Math.max(agentReserveBytes, guestOwnStorageBytes - ownBytes);
}

/** How large the claim is to be so that instances may store `usableBytes`; never what is in use. Pure. */
export function claimFor(usableBytes: number, figures: FileSystemFigures): number {
  const { freeBytes, claimedBytes, imagesBytes } = figures;
  const instancesRoom = Math.max(0, usableBytes - imagesBytes);
  return Math.max(0, freeBytes + claimedBytes - instancesRoom - ownRoom(figures));
}

/** What instances may store together as it is now. Pure. */
export function usableOf(figures: FileSystemFigures): number {
  return figures.imagesBytes + Math.max(0, figures.freeBytes - ownRoom(figures));
}

/** What holds nothing: the claim is never written, so taking it is no growth of what is. */
const unusedOf = ({ freeBytes, claimedBytes }: FileSystemFigures): number => freeBytes + claimedBytes;

export class Storage {
  readonly #directory: string;
  readonly #claimFile: string;
  readonly #images: string;
  #turn: Promise<unknown> = Promise.resolve();
  /** As the owner said; null until it has. */
  #usableBytes: number | null = null;
  /** When it was last trimmed, or first looked at. */
  #trimmed = { unusedBytes: 0, writtenBytes: 0 };

  constructor(directory: string) {
    this.#directory = directory;
    this.#claimFile = join(directory, '.claim');
    this.#images = layoutOf(directory).scratch;
  }

  /** To be called once: what is free now was never used. */
  async open(): Promise<void> {
    await this.#noteTrimmed();
  }

  /**
   * Whether a trim would bring anything; walking through all that is free takes an emulated machine seconds. What was written
   * since the last one and is not in use any more: at most that is free and still in the host's file.
   */
  async hasFreed(leastBytes = worthTrimmingBytes): Promise<boolean> {
    const grownBytes = this.#trimmed.unusedBytes - unusedOf(await this.figures());
    return writtenBytes() - this.#trimmed.writtenBytes - grownBytes >= leastBytes;
  }

  async figures(): Promise<FileSystemFigures> {
    const { bsize, blocks, bavail } = await statfs(this.#directory);
    const images = existsSync(this.#images) ? readdirSync(this.#images) : [];
    return {
      totalBytes: blocks * bsize,
      freeBytes: bavail * bsize,
      claimedBytes: takenBytes(this.#claimFile),
      imagesBytes: images.reduce((sum, name) => sum + takenBytes(join(this.#images, name)), 0),
    };
  }

  /** Claims or releases, one call after the other; answers what instances may store now. */
  setUsable(usableBytes: number): Promise<{ usableBytes: number; trimmedBytes: number }> {
    return this.#inTurn(async () => {
      this.#usableBytes = usableBytes;
      const before = await this.figures();
      const claimBytes = claimFor(usableBytes, before);
      this.#shrinkClaim(claimBytes, before);
      const grows = claimBytes > before.claimedBytes;
      // Before it is claimed: blocks of the claim are not free, and would stay with the host's file.
      const trimmedBytes = (await this.hasFreed(grows ? 1 : undefined)) ? await this.trim() : 0;
      if (grows) await runProgram(['fallocate', '-l', String(claimBytes), this.#claimFile]);
      return { usableBytes: usableOf(await this.figures()), trimmedBytes };
    });
  }

  /** After somebody else than instances has written much: what they were left is theirs all the same. @throws BellowsError NoRoom */
  makeRoom(): Promise<void> {
    return this.#inTurn(async () => {
      const usableBytes = this.#usableBytes;
      if (usableBytes === null) return;
      const before = await this.figures();
      this.#shrinkClaim(claimFor(usableBytes, before), before);
      const { freeBytes, imagesBytes } = await this.figures();
      if (freeBytes >= usableBytes - imagesBytes) return;
      throw new BellowsError(
        'NoRoom',
        `On the unit's disk are ${humanBytes(freeBytes)} left, and its instances were promised ${humanBytes(usableBytes - imagesBytes)} more than they store.`,
        'Start Bellows with larger units, or let fewer workloads share one.',
      );
    });
  }

  /** Tells the host which blocks hold nothing; answers how many bytes, by the kernel's word. */
  async trim(): Promise<number> {
    const said = await runProgram(['fstrim', '-v', this.#directory]);
    await this.#noteTrimmed();
    return Number(/\((\d+) bytes\)/.exec(said)?.[1] ?? 0);
  }

  /** The same where it is worth it: to be asked now and then. */
  async trimWhatWasFreed(): Promise<void> {
    if (await this.hasFreed()) await this.trim();
  }

  async #noteTrimmed(): Promise<void> {
    this.#trimmed = { unusedBytes: unusedOf(await this.figures()), writtenBytes: writtenBytes() };
  }

  #shrinkClaim(claimBytes: number, { claimedBytes }: FileSystemFigures): void {
    if (claimBytes >= claimedBytes) return;
    if (claimBytes === 0) rmSync(this.#claimFile, { force: true });
    else truncateSync(this.#claimFile, claimBytes);
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(act);
    this.#turn = run.catch(() => undefined);
    return run;
  }
}

/** Blocks of a file, whose size may be anything; 0 when it is not there (any more). */
function takenBytes(file: string): number {
  // The kernel counts blocks of 512 bytes, whatever the file system's are.
  return (statSync(file, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
}

/** 0 where there is no such disk: scratch space is memory then. */
function writtenBytes(): number {
  if (!existsSync(diskFigures)) return 0;
  return Number(readFileSync(diskFigures, 'latin1').trim().split(/\s+/)[6] ?? 0) * sectorBytes;
}
