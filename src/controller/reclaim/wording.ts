// What the audit log says of reclaim, in words. Pure.
import type { Rung } from '../../allocator/reclaim/ladder.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { ReclaimReport } from '../control-plane.ts';

/** @param why as a half sentence that begins with a small letter */
export function sentenceOf(
  { claimedBytes, from, durationMs, connections, missingBytes }: ReclaimReport,
  why: string,
): string {
  const counted = (rung: Rung): number => from.filter(({ how }) => how === rung).length;
  const [rested, ended] = [counted('hibernate'), counted('terminate')];
  const whom = [
    instances(from.length),
    ...(rested === 0 ? [] : [`${rested} of them put on disk idle`]),
    ...(ended === 0 ? [] : [`${ended} of them ended idle`]),
  ].join(', ');
  const kept = connections.open === 0 ? '' : `; ${connections.kept} of ${connections.open} connections kept`;
  const missing = missingBytes === 0 ? '' : `; ${humanBytes(missingBytes)} are still missing`;
  return `${humanBytes(claimedBytes)} were taken back from ${whom}, in ${Math.round(durationMs)} ms, since ${why}${kept}${missing}.`;
}

function instances(count: number): string {
  return count === 1 ? '1 instance' : `${count} instances`;
}
