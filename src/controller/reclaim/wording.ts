// What the audit log says of reclaim, in words. Pure.
import { humanBytes } from '../../base/quantity.ts';
import type { ReclaimReport } from '../control-plane.ts';

/** @param why as a half sentence that begins with a small letter */
export function sentenceOf(
  { claimedBytes, from, durationMs, connections, missingBytes }: ReclaimReport,
  why: string,
): string {
  const ended = from.filter(({ how }) => how === 'terminate').length;
  const whom = `${instances(from.length)}${ended === 0 ? '' : `, ${ended} of them ended idle`}`;
  const kept = connections.open === 0 ? '' : `; ${connections.kept} of ${connections.open} connections kept`;
  const missing = missingBytes === 0 ? '' : `; ${humanBytes(missingBytes)} are still missing`;
  return `${humanBytes(claimedBytes)} were taken back from ${whom}, in ${Math.round(durationMs)} ms, since ${why}${kept}${missing}.`;
}

function instances(count: number): string {
  return count === 1 ? '1 instance' : `${count} instances`;
}
