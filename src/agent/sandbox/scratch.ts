// The private, writable directory of each sandbox, /tmp inside, and its size, which changes while it is used. On disk where
// the machine lets us (scratch-images.ts); otherwise in memory, as a tmpfs, and counted as the instance's memory.
import { execFile } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { humanBytes, mib } from '../../base/quantity.ts';
import { trimFileSystem } from '../../sys/file-space.ts';
import { mount, MS_NODEV, MS_NOSUID, MS_REMOUNT } from '../../sys/mount.ts';
import { figuresOf, setGranted } from './claim.ts';
import { ScratchImages, shownDirectory } from './scratch-images.ts';
import type { StorageKeeping, StorageOutcome, StoredBytes } from './port.ts';

const run = promisify(execFile);
/** statfs(2)'s number of ext4. */
const ext4 = 0xef53;
/** Less than this is not worth going through a file system for. */
const worthTrimmingBytes = 8 * mib;

export class Scratch {
  readonly #places: string;
  readonly #images: ScratchImages;
  /** As last read or set: nobody else changes it, and every resize of anything asks. */
  readonly #granted = new Map<string, number>();
  #keeping: StorageKeeping = { on: 'memory', why: 'it was not tried yet' };

  /** @param stage a mount of the agent's own, not shared @param imageDirectory on a disk */
  constructor(stage: string, imageDirectory: string) {
    this.#places = join(stage, 'tmp');
    this.#images = new ScratchImages(imageDirectory, stage);
  }

  get keeping(): StorageKeeping {
    return this.#keeping;
  }

  open(): void {
    mkdirSync(this.#places, { recursive: true });
    try {
      this.#images.open();
      this.#keeping = { on: 'disk' };
    } catch (error) {
      this.#images.close();
      this.#keeping = { on: 'memory', why: messageOf(error) };
    }
  }

  close(): void {
    this.#images.close();
  }

  slots(): string[] {
    return [
      ...new Set([...(existsSync(this.#places) ? readdirSync(this.#places) : []), ...this.#images.slots()]),
    ];
  }

  /** Makes a slot's space; what is shown of it is {@link shown}. @throws BellowsError NotSupportedHere */
  prepare(slot: string, storageBytes: number): void {
    const place = this.#place(slot);
    mkdirSync(place);
    if (this.#keeping.on !== 'disk') {
      mount('bellows-tmp', place, 'tmpfs', MS_NOSUID | MS_NODEV, `mode=1777,${tmpfsSize(storageBytes)}`);
      return;
    }
    this.#images.take(slot, place);
    const outcome = this.resize(slot, storageBytes);
    if (outcome.is !== 'applied')
      throw new BellowsError('NotSupportedHere', `A scratch space could not be made: ${outcome.reason}.`);
  }

  shown(slot: string): string {
    const place = this.#place(slot);
    return isImage(place) ? join(place, shownDirectory) : place;
  }

  grantedBytes(slot: string): number {
    const known = this.#granted.get(slot);
    if (known !== undefined) return known;
    const place = this.#place(slot);
    const { bsize, blocks } = statfsSync(place);
    const bytes = isImage(place) ? figuresOf(place).grantedBytes : blocks * bsize;
    this.#granted.set(slot, bytes);
    return bytes;
  }

  storedBytes(slot: string): StoredBytes {
    const place = this.#place(slot);
    if (isImage(place)) {
      const { usedBytes, grantedBytes } = figuresOf(place);
      return { usedBytes, limitBytes: grantedBytes };
    }
    const { bsize, blocks, bfree } = statfsSync(place);
    return { usedBytes: (blocks - bfree) * bsize, limitBytes: blocks * bsize };
  }

  /** Never takes what is in use. */
  resize(slot: string, storageBytes: number): StorageOutcome {
    this.#granted.delete(slot);
    const place = this.#place(slot);
    if (!isImage(place)) return remount(place, storageBytes);
    const { ceilingBytes, grantedBytes, usedBytes } = figuresOf(place);
    if (storageBytes === grantedBytes) return { is: 'applied' };
    if (storageBytes > ceilingBytes)
      return { is: 'infeasible', reason: `a scratch space has at most ${humanBytes(ceilingBytes)}` };
    // Blocks of the claim are not free, and what was deleted in them would stay with the machine's file.
    if (storageBytes < grantedBytes && usedBytes <= storageBytes && this.#isWorthTrimming(slot, usedBytes))
      trimNow(place);
    if (setGranted(place, storageBytes)) return { is: 'applied' };
    return { is: 'deferred', reason: inTheWay(usedBytes, storageBytes) };
  }

  /** Gives blocks of deleted files back to the machine. */
  async trim(slot: string): Promise<void> {
    const place = this.#place(slot);
    if (!existsSync(place) || !isImage(place)) return;
    // A process, for the disk is waited for.
    if (this.#isWorthTrimming(slot, figuresOf(place).usedBytes)) await run('fstrim', [place]);
  }

  clear(slot: string): void {
    this.#granted.delete(slot);
    this.#images.remove(slot, this.#place(slot));
  }

  #isWorthTrimming(slot: string, usedBytes: number): boolean {
    return this.#images.hostBytes(slot) - usedBytes >= worthTrimmingBytes;
  }

  #place(slot: string): string {
    return join(this.#places, slot);
  }
}

function isImage(place: string): boolean {
  return statfsSync(place).type === ext4;
}

/** What there is to trim at a change is what was deleted since the last sweep: milliseconds. */
function trimNow(place: string): void {
  const fd = openSync(place, 'r');
  try {
    trimFileSystem(fd);
  } finally {
    closeSync(fd);
  }
}

function remount(place: string, storageBytes: number): StorageOutcome {
  try {
    mount(null, place, null, MS_REMOUNT | MS_NOSUID | MS_NODEV, tmpfsSize(storageBytes));
    return { is: 'applied' };
  } catch (error) {
    // The kernel refuses what is less than is stored there.
    if (!(error instanceof Error && 'code' in error && error.code === 'EINVAL')) throw error;
    return { is: 'deferred', reason: inTheWay(tmpfsUsedBytes(place), storageBytes) };
  }
}

function tmpfsUsedBytes(place: string): number {
  const { bsize, blocks, bfree } = statfsSync(place);
  return (blocks - bfree) * bsize;
}

/** A size of 0 would be no limit. */
function tmpfsSize(storageBytes: number): string {
  return `size=${Math.max(1, storageBytes)}`;
}

function inTheWay(usedBytes: number, wantedBytes: number): string {
  return `holds ${humanBytes(usedBytes)} in /tmp; ${humanBytes(wantedBytes)} was asked, and nothing that is stored is taken away`;
}
