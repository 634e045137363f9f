// Scratch space on disk: for each slot a sparse ext4 image, mounted through a loop device. Owns the image files, one that is
// mounted ahead, and how they are made: as copies of a template, which is formatted once. How much of one may be used is
// claim.ts's.
//
//   template ──copy of what is in it──▶ spare, mounted ──moved──▶ at the slot's place ──▶ removed, file and all
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  close,
  closeSync,
  existsSync,
  ftruncateSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { mib } from '../../base/quantity.ts';
import { defaultStorage, maxInstanceStorage } from '../../model/workload.ts';
import { dataExtents, shutDownFileSystem } from '../../sys/file-space.ts';
import { attachLoopDevice } from '../../sys/loop-device.ts';
import { mount, mountPointsAt, MS_MOVE, MS_NODEV, MS_NOSUID, umount } from '../../sys/mount.ts';
import { setGranted } from './claim.ts';

/** What ext4 needs for itself: inode tables (a file for 64 KiB is enough), bitmaps, and its own reserve of 16 MiB. */
const imageBytes = maxInstanceStorage + Math.ceil(maxInstanceStorage / 128) + 128 * mib;
/** No journal: no scratch space outlives a crash of the machine. Nothing is kept for root. */
const formatOptions = [
  '-q',
  '-F',
  '-m',
  '0',
  '-b',
  '4096',
  '-i',
  '65536',
  '-O',
  '^has_journal,^resize_inode',
];
/** The kernel would go through the inode tables of every image and write zeros. */
const mountOptions = 'noinit_itable';
/**
 * After a start, which must not wait for this. Making one takes some milliseconds, and an emulated machine a quarter of a
 * second, where starts take as much longer: so it waits for a multiple of what the last one took.
 */
const refillAfterMs = { least: 250, perMakingMs: 20 } as const;

/** The only directory that an instance is shown of its image. */
export const shownDirectory = 'tmp';

interface Part {
  readonly at: number;
  readonly bytes: Buffer;
}

export class ScratchImages {
  readonly #directory: string;
  readonly #spareAt: string;
  #template: readonly Part[] = [];
  #spare = false;
  #refill: NodeJS.Timeout | undefined;
  #makingMs = 0;

  /** @param directory for the files, on a disk @param stage where the spare is mounted: must not be a shared mount */
  constructor(directory: string, stage: string) {
    this.#directory = directory;
    this.#spareAt = join(stage, 'spare');
  }

  /** Makes the template, and the first spare. @throws when this machine can not: no loop devices, no mkfs.ext4, no right to mount */
  open(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    // What an earlier agent made ahead.
    this.remove('spare', this.#spareAt);
    this.remove('template', this.#spareAt);
    mkdirSync(this.#spareAt, { recursive: true });
    const file = this.#fileOf('template');
    try {
      closeSync(openSync(file, 'wx', 0o600));
      execFileSync('mkfs.ext4', [...formatOptions, '-E', 'nodiscard', file, `${imageBytes / 1024}k`], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      this.#mount(file, this.#spareAt);
      mkdirSync(join(this.#spareAt, shownDirectory));
      // The mode of mkdir is cut by the umask.
      chmodSync(join(this.#spareAt, shownDirectory), 0o1777);
      setGranted(this.#spareAt, defaultStorage);
      umount(this.#spareAt);
      this.#template = contentOf(file);
    } finally {
      this.remove('template', this.#spareAt);
    }
    this.#makeSpare();
  }

  /** Mounts a new image of the default size at `place`, an empty directory. */
  take(slot: string, place: string): void {
    if (this.#spare) {
      this.#spare = false;
      renameSync(this.#fileOf('spare'), this.#fileOf(slot));
      mount(this.#spareAt, place, null, MS_MOVE, null);
    } else this.#make(slot, place);
    this.#refillSoon();
  }

  /** Slots that there is an image of, mounted or not. */
  slots(): string[] {
    if (!existsSync(this.#directory)) return [];
    return readdirSync(this.#directory)
      .filter((name) => name.endsWith(suffix))
      .map((name) => name.slice(0, -suffix.length))
      .filter((name) => name !== 'spare' && name !== 'template');
  }

  /** Bytes that the machine's disk holds for it. */
  hostBytes(slot: string): number {
    const fd = openSync(this.#fileOf(slot), 'r');
    try {
      // The kernel counts blocks of 512 bytes, whatever the file system's are.
      return fstatSync(fd).blocks * 512;
    } finally {
      closeSync(fd);
    }
  }

  /** Takes the mount, the device, the file and the place away. What was not written yet is never written. */
  remove(slot: string, place: string): void {
    const file = this.#fileOf(slot);
    const image = existsSync(file) ? openSync(file, 'r') : undefined;
    if (image !== undefined) unlinkSync(file);
    for (const point of mountPointsAt(place)) {
      if (image !== undefined) discardUnwritten(point);
      umount(point, { detach: true });
    }
    if (existsSync(place)) rmdirSync(place);
    // Freeing its blocks takes the disk tens of milliseconds: in a thread, now that nobody can find it.
    if (image !== undefined) close(image);
  }

  close(): void {
    clearTimeout(this.#refill);
    this.#refill = undefined;
    this.#spare = false;
    this.remove('spare', this.#spareAt);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #refillSoon(): void {
    const pauseMs = Math.max(refillAfterMs.least, this.#makingMs * refillAfterMs.perMakingMs);
    this.#refill ??= setTimeout(() => {
      this.#refill = undefined;
      if (!this.#spare) this.#makeSpare();
    }, pauseMs).unref();
  }

  #makeSpare(): void {
    const startedMs = performance.now();
    mkdirSync(this.#spareAt, { recursive: true });
    try {
      this.#make('spare', this.#spareAt);
      this.#spare = true;
    } catch {
      // A full disk, or no device left: whoever needs one tries again, and says so.
      this.remove('spare', this.#spareAt);
      mkdirSync(this.#spareAt, { recursive: true });
    }
    this.#makingMs = performance.now() - startedMs;
  }

  #make(name: string, place: string): void {
    const file = this.#fileOf(name);
    const fd = openSync(file, 'wx', 0o600);
    try {
      ftruncateSync(fd, imageBytes);
      for (const { at, bytes } of this.#template) writeSync(fd, bytes, 0, bytes.length, at);
    } finally {
      closeSync(fd);
    }
    this.#mount(file, place);
  }

  #mount(file: string, place: string): void {
    const fd = openSync(file, 'r+');
    try {
      const device = attachLoopDevice(fd);
      try {
        mount(device.path, place, 'ext4', MS_NOSUID | MS_NODEV, mountOptions);
      } finally {
        // The mount keeps the device; without one it is let go.
        closeSync(device.fd);
      }
    } finally {
      closeSync(fd);
    }
  }

  #fileOf(name: string): string {
    return join(this.#directory, `${name}${suffix}`);
  }
}

const suffix = '.ext4';

function contentOf(file: string): Part[] {
  const fd = openSync(file, 'r');
  try {
    return dataExtents(fd, imageBytes).map(({ at, bytes: length }) => {
      const bytes = Buffer.alloc(length);
      readSync(fd, bytes, 0, length, at);
      return { at, bytes };
    });
  } finally {
    closeSync(fd);
  }
}

/** Otherwise an unmount would first write all that an instance wrote last, for nobody. */
function discardUnwritten(point: string): void {
  const fd = openSync(point, 'r');
  try {
    shutDownFileSystem(fd);
  } finally {
    closeSync(fd);
  }
}
