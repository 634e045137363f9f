/**
 * Owns: having the kernel forget what it holds of a file in memory, once that is on the disk.
 * Does not own: which files are not needed soon.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { libc, SystemError } from './libc.ts';

const POSIX_FADV_DONTNEED = 4;
/** At once on this thread: 8,000 pages take the kernel a millisecond or two. */
const stepBytes = 32 * 1024 * 1024;

/** Waits for the disk. What somebody is writing, or has mapped, stays. */
export async function dropFromCache(path: string): Promise<void> {
  await using file = await open(path, constants.O_RDONLY);
  // A page that is not written yet is not let go of.
  await file.datasync();
  const { size } = await file.stat();
  for (let at = 0; at < size; at += stepBytes) {
    // It answers the error itself.
    const error = libc().call.posix_fadvise(file.fd, BigInt(at), BigInt(stepBytes), POSIX_FADV_DONTNEED);
    if (error !== 0) throw new SystemError('posix_fadvise', error, `'${path}'`);
    await nextTurn();
  }
}
