// How much memory could be taken back from an instance, guessed before it is asked: to ask thaws it, collects its garbage and
// so touches memory, which is more than a small one can give. Pure.
import { mib } from '../../base/quantity.ts';
import type { InstanceUsage } from '../../model/instance.ts';

/**
 * Less is not worth a thaw: waking a process and running its collector took 0.1 to 0.5 MiB of fresh memory in instances
 * that had nothing to give.
 */
export const worthwhileBytes = mib;
/** What an idle Node instance with a handler of a few lines is charged: 11.7 MiB, and that much again after a trim. */
const leastBytes = 12 * mib;

/** What it stood at when it was asked last. */
export interface Left {
  /** Null while only its cache was dropped. */
  readonly memoryBytes: number | null;
  /** Cache that would not go: of files that are mapped or being written. */
  readonly cacheBytes: number;
}

export interface ExpectedGain {
  /** By a trim, which collects garbage and drops clean cache; 0 when the program has not grown. */
  readonly trimBytes: number;
  /** By dropping clean cache alone, where a trim is not worth it: the program is let be. */
  readonly cacheBytes: number;
}

/** @param left undefined when it was never asked */
export function expectedGain(
  { memoryBytes, workingSetBytes }: Pick<InstanceUsage, 'memoryBytes' | 'workingSetBytes'>,
  left: Left | undefined,
): ExpectedGain {
  // Garbage is not visible from outside: whatever it has more than it can do with may be some.
  const grown = Math.max(0, memoryBytes - (left?.memoryBytes ?? leastBytes));
  const cache = Math.max(0, memoryBytes - workingSetBytes - (left?.cacheBytes ?? 0));
  return grown >= worthwhileBytes
    ? { trimBytes: Math.max(grown, cache), cacheBytes: 0 }
    : { trimBytes: 0, cacheBytes: cache };
}
