// What things cost in the simulator: nothing that was not measured on real instances. Each figure has its source; where there
// are several, the worst one counts.
import { mib } from '../../base/quantity.ts';

export const costs = {
  /** A start without a warm process: 2.07 times `node -e 0` (docs/SPECIFICATION.md), which takes 40 ms. With one it is a quarter. */
  startMs: 83,
  /** From the request to the kernel's file, p99 of a resize (docs/SPECIFICATION.md): a frozen instance is granted more before it runs. */
  growMs: 12.6,
  /** A full collection of an instance full of garbage: 342 MB became 80 in that time. */
  trimMs: 53,
  /** What a trim leaves of what was used, by the same measurement; smaller heaps leave a smaller part, which is not counted on. */
  trimmedShare: 80 / 342,
  /** And never less than an idle Node instance with a handler of a few lines is charged: see src/controller/expected-gain.ts. */
  leastBytes: 12 * mib,
  /** How many instances are trimmed at a time: see src/controller/reclaim.ts. */
  trimsAtOnce: 2,
} as const;

/** What an instance stands at when it was trimmed, or has only started. */
export function trimmedBytes(usedBytes: number): number {
  return Math.min(usedBytes, Math.max(costs.leastBytes, Math.ceil(usedBytes * costs.trimmedShare)));
}
