// Compressed swap in memory for as long as a bench needs it: a zram device of its own, made and removed. The machine's other
// processes could use it as well, and do not while memory is not short.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const control = '/sys/class/zram-control';
const sizeBytes = 1024 ** 3;

export interface ZramSwap {
  /** What the kernel takes for each byte that was moved there. */
  readonly share: () => number;
  /** Brings back all that is in it first. */
  readonly remove: () => void;
}

/** Null where it can not be had: no such device in the kernel, or no right to make one. */
export function makeZramSwap(): ZramSwap | null {
  if (process.getuid?.() !== 0 || !existsSync(`${control}/hot_add`)) return null;
  // Reading it makes a device and answers with its number.
  const number = readFileSync(`${control}/hot_add`, 'utf8').trim();
  const device = `/dev/zram${number}`;
  const files = `/sys/block/zram${number}`;
  const remove = (): void => {
    writeFileSync(`${files}/reset`, '1');
    writeFileSync(`${control}/hot_remove`, number);
  };
  try {
    writeFileSync(`${files}/disksize`, String(sizeBytes));
    execFileSync('mkswap', [device], { stdio: 'ignore' });
    execFileSync('swapon', [device]);
  } catch {
    remove();
    return null;
  }
  return {
    share: () => {
      const [movedBytes = 0, , usedBytes = 0] = readFileSync(`${files}/mm_stat`, 'utf8')
        .trim()
        .split(/\s+/)
        .map(Number);
      return movedBytes === 0 ? 0 : usedBytes / movedBytes;
    },
    remove: () => {
      execFileSync('swapoff', [device]);
      remove();
    },
  };
}
