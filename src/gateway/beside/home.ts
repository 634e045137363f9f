// Which of the gateways that serve together an instance is at home with. Pure: all of them, and those that come after, say the same.
import type { InstanceId } from '../../base/ids.ts';

/** FNV-1a's, of 32 bits: ids are random, and few bits of each are enough. */
const offsetBasis = 0x811c9dc5;
const prime = 0x01000193;

/** @param of how many gateways there are */
export function homeOf(id: InstanceId, of: number): number {
  if (of === 1) return 0;
  let hash = offsetBasis;
  for (let index = 0; index < id.length; index += 1) hash = Math.imul(hash ^ id.charCodeAt(index), prime);
  return (hash >>> 0) % of;
}
