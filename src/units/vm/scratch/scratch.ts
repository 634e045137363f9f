// The scratch disk of a unit: a sparse ext4 image, that takes of the host's disk what is written and not what it promises.
// Owns the file and the loop device over it. What is in it is the guest's; how much of it may be used, the guest's agent's.
//
// A clone's QEMU may not punch holes (machine/fallocate-filter.ts); with a loop device between, what the guest trims
// reaches the file all the same, for there the kernel punches. Without rights there is no such device, and no way back.
import { chownSync, existsSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BellowsError } from '../../../base/errors.ts';
import type { UnitId } from '../../../base/ids.ts';
import { mib } from '../../../base/quantity.ts';
import { guestOwnStorageBytes } from '../../../protocol/guest.ts';
import { unpack, type Packing } from '../packed-file.ts';
import { runTool } from '../run-tool.ts';

const loops = z.object({
  loopdevices: z.array(z.object({ name: z.string(), 'back-file': z.string().nullable() })),
});

/**
 * No journal: no scratch disk outlives its machine. Nothing reserved, and nothing left to be initialised in a guest,
 * for that would be written in every one of them.
 */
const formatOptions = ['-q', '-F', '-m', '0', '-b', '4096', '-O', '^has_journal,^resize_inode'];
const extendedOptions = 'lazy_itable_init=1,nodiscard,root_owner=0:0';
/** The same everywhere: nothing in a guest may depend on it. */
const fileSystemId = '6c1f9a52-0d0b-4b5f-9d67-6ad3b1c58a10';

/** What ext4 needs for itself of such a disk: inodes take 1.6 %. */
const overheadShare = 1 / 32;
const overheadBytes = 8 * mib;

/** How large a disk is made so that all that was provisioned may be used. It costs the host nothing. */
export const diskBytesFor = (storageBytes: number): number =>
  Math.ceil(((storageBytes + guestOwnStorageBytes) * (1 + overheadShare) + overheadBytes) / mib) * mib;

export interface ScratchDisk {
  readonly file: string;
  /** The loop device over the file; null where there are no rights for one. */
  readonly device: string | null;
}

export class ScratchDisks {
  readonly #directory: string;
  readonly #loops: boolean;

  constructor(directory: string, options: { readonly loops: boolean }) {
    this.#directory = directory;
    this.#loops = options.loops;
  }

  fileOf(id: UnitId): string {
    return join(this.#directory, `${id}.ext4`);
  }

  /** An empty file system for so much storage, or what a template's held. `uid`: whose QEMU uses it. @throws BellowsError NoRoom */
  async make(
    id: UnitId,
    storageBytes: number,
    uid: number | null,
    content?: { readonly packed: string; readonly layout: Packing },
  ): Promise<ScratchDisk> {
    const file = this.fileOf(id);
    try {
      {
        await using handle = await open(file, 'wx', 0o600);
        await handle.truncate(diskBytesFor(storageBytes));
        if (content !== undefined) await unpack(content.packed, content.layout, handle);
      }
      if (content === undefined)
        await runTool('mkfs.ext4', [...formatOptions, '-E', extendedOptions, '-U', fileSystemId, file]);
      if (!this.#loops) {
        if (uid !== null) chownSync(file, uid, uid);
        return { file, device: null };
      }
      const device = (await runTool('losetup', ['--find', '--show', '--direct-io=off', file])).trim();
      if (uid !== null) chownSync(device, uid, uid);
      return { file, device };
    } catch (thrown) {
      await this.remove(id);
      throw thrown;
    }
  }

  /** The disk of a unit that rests. @throws BellowsError NotFound */
  async find(id: UnitId): Promise<ScratchDisk> {
    const file = this.fileOf(id);
    const [device] = this.#loops ? await this.#devicesOf(file) : [];
    if (existsSync(file) && (device !== undefined || !this.#loops)) return { file, device: device ?? null };
    throw new BellowsError('NotFound', `The scratch disk of unit ${id} is gone.`);
  }

  /** Also what a dead owner left of it. */
  async remove(id: UnitId): Promise<void> {
    const file = this.fileOf(id);
    if (this.#loops) {
      for (const device of await this.#devicesOf(file)) {
        chownSync(device, 0, 0);
        await runTool('losetup', ['--detach', device]);
      }
    }
    rmSync(file, { force: true });
  }

  /** What the host's file system holds for it. */
  hostBytes(id: UnitId): number {
    // The kernel counts blocks of 512 bytes, whatever the file system's are.
    return (statSync(this.fileOf(id), { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  }

  async #devicesOf(file: string): Promise<string[]> {
    const text = await runTool('losetup', [
      '--json',
      '--list',
      '--output',
      'NAME,BACK-FILE',
      '--associated',
      file,
    ]);
    return text.trim() === '' ? [] : loops.parse(JSON.parse(text)).loopdevices.map(({ name }) => name);
  }
}
