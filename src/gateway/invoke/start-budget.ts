// How many starts a function may have under way at once. Pure. How many it needs is src/allocator/scale.ts.

/**
 * A function whose time is unknown, or shorter than a start, doubles its instances at most: a burst of fast requests
 * must not start a process for each, and a burst of slow ones has its instances after a few starts. When the time is
 * known to be long there is nothing to wait for.
 * @returns the most instances it may have now, running and starting
 */
export function startBudget(
  load: { running: number; serviceMs: number | null; startMs: number },
  cap: number,
): number {
  if (load.serviceMs !== null && load.serviceMs >= load.startMs) return cap;
  return Math.min(cap, load.running + Math.max(1, load.running));
}
