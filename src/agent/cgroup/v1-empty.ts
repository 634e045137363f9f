// Drops what a v1 group's processes can do without: clean cache. Owns the one file that asks the kernel for it.
import { join } from 'node:path';
import { hasCode, readNumber, readTextIfThere, writeText, writeTextOnThread } from './files.ts';

/**
 * To empty a group the kernel also moves what is no cache to swap, where there is one, unless the group's swappiness is 0: then
 * whoever runs there would stand still for each page that it uses next. @returns the bytes that were freed
 */
export async function dropCache(directory: string): Promise<number> {
  const file = join(directory, 'memory.swappiness');
  const swappiness = hasSwap() ? readNumber(file) : 0;
  if (swappiness === 0) return empty(directory);
  writeText(file, '0');
  try {
    return await empty(directory);
  } finally {
    writeText(file, String(swappiness));
  }
}

async function empty(directory: string): Promise<number> {
  const usage = join(directory, 'memory.usage_in_bytes');
  const beforeBytes = readNumber(usage);
  try {
    // On a thread: the kernel walks the group's pages and waits for every CPU, milliseconds in all.
    await writeTextOnThread(join(directory, 'memory.force_empty'), '0');
  } catch (error) {
    // EBUSY, EINTR: some pages could not go, which is what is expected of a group in use.
    if (!hasCode(error, 'EBUSY', 'EINTR', 'ENOENT', 'ENODEV')) throw error;
  }
  return Math.max(0, beforeBytes - readNumber(usage));
}

/** The list's first line is its heading. */
function hasSwap(): boolean {
  return (readTextIfThere('/proc/swaps') ?? '').split('\n').length > 1;
}
