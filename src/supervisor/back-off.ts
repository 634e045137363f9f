// How long to wait before a process that ended is started again. Pure.

export const backOffMs = {
  /** Short enough that a single crash is over before a client's second try. */
  first: 20,
  /** A process that can not start is tried often enough to notice a repair, and seldom enough to cost nothing. */
  longest: 2_000,
  /** A process that ran this long was well: its next end is a new story. */
  forget: 10_000,
} as const;

/** @param previousMs the pause before the run that just ended; null when there was none */
export function nextPauseMs(previousMs: number | null, ranMs: number): number {
  if (previousMs === null || ranMs >= backOffMs.forget) return backOffMs.first;
  return Math.min(previousMs * 2, backOffMs.longest);
}
