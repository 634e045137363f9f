// How much a trim of an instance may give back, guessed before it is asked: to ask thaws it, collects its garbage and so
// touches memory, which is more than a small one can give. Pure.
import type { InstanceUsage } from '../model/instance.ts';
import { mib } from '../base/quantity.ts';

/**
 * Less is not worth a thaw: waking a process and running its collector took 0.1 to 0.5 MiB of fresh memory in instances
 * that had nothing to give.
 */
export const worthwhileBytes = mib;
/** What an idle Node instance with a handler of a few lines is charged: 11.7 MiB, and that much again after a trim. */
const leastBytes = 12 * mib;

/** @param leftBytes what the last trim left it with; undefined when it was never trimmed */
export function expectedGainBytes(
  { memoryBytes, workingSetBytes }: Pick<InstanceUsage, 'memoryBytes' | 'workingSetBytes'>,
  leftBytes: number | undefined,
): number {
  // Garbage is not visible from outside: whatever it has more than it can do with may be some.
  const grown = memoryBytes - (leftBytes ?? leastBytes);
  const cache = memoryBytes - workingSetBytes;
  return Math.max(0, grown, cache);
}
