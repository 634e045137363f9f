// How fast one of an app's direct connections may send, so that together they keep to what their instance is granted. Pure.

/**
 * So fast may every connection be: otherwise a thousand that are silent would leave the one that speaks a thousandth. With
 * more than limit / 64 KiB connections that all send at once, the sum is more than the limit.
 */
const leastShare = 64 * 1024;

/** Bytes per second for each of `open` connections of an instance that is granted `bytesPerSecond`. */
export function connectionShare(bytesPerSecond: number, open: number): number {
  return Math.max(bytesPerSecond / Math.max(1, open), Math.min(bytesPerSecond, leastShare));
}
