// A template's memory while it is in use: a sealed file in memory, which clones map privately. Owns loading and sealing.
// Sealed, for QEMU opens what is behind a guest's memory for writing, and one that was taken over must not be able to
// change what all other clones read.
import { closeSync, ftruncateSync, readdirSync, readlinkSync, openSync } from 'node:fs';
import { makeMemoryFile, sealMemoryFile } from '../../../sys/memory-file.ts';
import { unpack, type Packing } from '../packed-file.ts';

/** What the kernel calls it. */
export const templateFileName = (key: string): string => `bellows-template-${key}`;

/** Unsealed, of the size: a machine's that becomes a template. */
export function newTemplateMemory(key: string, bytes: number): number {
  const fd = makeMemoryFile(templateFileName(key));
  ftruncateSync(fd, bytes);
  return fd;
}

export const sealTemplateMemory = sealMemoryFile;

/** @throws BellowsError Conflict when the packed file is damaged. */
export async function loadTemplateMemory(key: string, packed: string, layout: Packing): Promise<number> {
  const fd = newTemplateMemory(key, layout.bytes);
  try {
    await unpack(packed, layout, { fd });
    sealMemoryFile(fd);
    return fd;
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

/** The same file as clones that live already have of it; undefined when none of them has. */
export function memoryOfClones(key: string, pids: readonly number[]): number | undefined {
  for (const pid of pids) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        const path = `/proc/${pid}/fd/${fd}`;
        if (readlinkSync(path).startsWith(`/memfd:${templateFileName(key)} `)) return openSync(path, 'r');
      }
    } catch {
      // It ended, or is not ours to look into.
    }
  }
  return undefined;
}
