// How many warm processes to keep ready: as many as the last bursts took, forgotten by halves. Owns the rule; keeping
// the timestamps and the processes is the controller's and the agent's matter. Pure: no state but the timestamps.

export interface PoolPolicy {
  /** Kept when nobody asks for anything, if there is memory. */
  readonly minimum: number;
  readonly maximum: number;
  /** Binds closer together than this are one burst, and its size is held for as long. */
  readonly windowMs: number;
  /** After that the size a burst calls for halves in this time. */
  readonly halfLifeMs: number;
  /** What one warm process costs the machine. */
  readonly processMemoryBytes: number;
}

export const defaultPoolPolicy: PoolPolicy = {
  // One process covers a first request, the second covers the next one while the first is replaced.
  minimum: 2,
  maximum: 20,
  // A process is replaced within some 100 ms, yet on a machine that is busy with a burst it takes seconds.
  windowMs: 10_000,
  halfLifeMs: 60_000,
  // 6 MiB private in a fresh Node process, the loader and what it has touched on top; its text is shared.
  processMemoryBytes: 16 * 1024 * 1024,
};

/** Binds older than this no longer change the size: the timestamps before it may be forgotten. */
export function bindHistoryMs(policy: PoolPolicy): number {
  // The largest burst that counts calls for a quarter of a process by then, and one that does has its first bind
  // up to a window before its last.
  return 2 * policy.windowMs + policy.halfLifeMs * (Math.log2(policy.maximum) + 2);
}

/**
 * How many warm processes to keep at `nowMs`. `bindTimesMs`: when processes were taken from the pool, or would have
 * been had it not been empty; ascending. Never more than `memoryAvailableBytes` holds, even below the minimum.
 */
export function poolSize(
  bindTimesMs: readonly number[],
  nowMs: number,
  memoryAvailableBytes: number,
  policy: PoolPolicy = defaultPoolPolicy,
): number {
  let wanted = 0;
  let oldest = 0;
  for (const [index, timeMs] of bindTimesMs.entries()) {
    while ((bindTimesMs[oldest] ?? timeMs) <= timeMs - policy.windowMs) oldest += 1;
    const burst = Math.min(index - oldest + 1, policy.maximum);
    const fadingMs = Math.max(0, nowMs - timeMs - policy.windowMs);
    wanted = Math.max(wanted, burst * 0.5 ** (fadingMs / policy.halfLifeMs));
  }
  const affordable = Math.max(0, Math.floor(memoryAvailableBytes / policy.processMemoryBytes));
  return Math.min(Math.max(Math.round(wanted), policy.minimum), policy.maximum, affordable);
}
