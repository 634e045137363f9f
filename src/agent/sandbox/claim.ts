// How much of a scratch image may be used: a file beside the directory that the instance sees, which holds the rest of the
// blocks and nothing else. It costs the machine's disk nothing, for none of them is ever written.
//
//   image's ceiling = claimed + granted;   granted = used + free
import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { reserveBlocks } from '../../sys/file-space.ts';

const claimName = '.claim';
/** Of the root, lost+found, the shown directory and the list of the claim's blocks. */
const ownBlocks = 7;

export interface StorageFigures {
  /** The most that could be granted. */
  readonly ceilingBytes: number;
  readonly grantedBytes: number;
  readonly usedBytes: number;
}

/** @param place where the image is mounted */
export function figuresOf(place: string): StorageFigures {
  const { bsize, blocks, bfree, bavail } = statfsSync(place);
  const claim = join(place, claimName);
  const claimedBytes = existsSync(claim) ? statSync(claim).size : 0;
  // The file system keeps some blocks for itself: free, but for nobody.
  const ceilingBytes = (blocks - (bfree - bavail) - ownBlocks) * bsize;
  const grantedBytes = ceilingBytes - claimedBytes;
  return { ceilingBytes, grantedBytes, usedBytes: Math.max(0, grantedBytes - bavail * bsize) };
}

/** False when more is in use than that: nothing is changed then. */
export function setGranted(place: string, grantedBytes: number): boolean {
  const before = figuresOf(place);
  if (before.usedBytes > grantedBytes || grantedBytes > before.ceilingBytes) return false;
  const fd = openSync(join(place, claimName), 'a', 0o600);
  try {
    const claimBytes = before.ceilingBytes - grantedBytes;
    const nowBytes = fstatSync(fd).size;
    if (claimBytes < nowBytes) ftruncateSync(fd, claimBytes);
    if (claimBytes <= nowBytes || reserveBlocks(fd, claimBytes)) return true;
    // The instance was quicker.
    ftruncateSync(fd, nowBytes);
    return false;
  } finally {
    closeSync(fd);
  }
}
