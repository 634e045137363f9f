import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TokenBucket } from './token-bucket.ts';

const rate = 1_000_000;

/** Sends chunks as fast as the bucket lets it, for so long; returns the bytes. */
function carriedIn(durationMs: number, bytesPerSecond: number, chunkBytes: number): number {
  let nowMs = 0;
  let bytes = 0;
  const bucket = new TokenBucket(bytesPerSecond, () => nowMs);
  for (;;) {
    nowMs += bucket.delayMs;
    if (nowMs > durationMs) return bytes;
    bucket.take(chunkBytes);
    bytes += chunkBytes;
  }
}

test('over ten seconds what passes is the rate, whatever its pieces: a burst and a piece more at most', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 50_000, max: 50_000_000 }),
      fc.integer({ min: 1000, max: 65_536 }),
      (limit, chunk) => {
        const burst = Math.max(65_536, limit * 0.02);
        const bytes = carriedIn(10_000, limit, chunk);
        expect(bytes).toBeGreaterThanOrEqual(limit * 10 * 0.99);
        expect(bytes).toBeLessThanOrEqual(limit * 10 * 1.01 + burst + chunk);
      },
    ),
    { numRuns: 20 },
  );
});

test('another rate holds for what is owed already', () => {
  let nowMs = 0;
  const bucket = new TokenBucket(rate, () => nowMs);
  bucket.take(rate + 64 * 1024);
  expect(bucket.delayMs).toBeCloseTo(1000);
  bucket.setRate(10 * rate);
  expect(bucket.delayMs).toBeCloseTo(100);
  nowMs = 100;
  expect(bucket.delayMs).toBe(0);
});

test('a pause saves up a moment, not more', () => {
  let nowMs = 0;
  const bucket = new TokenBucket(rate, () => nowMs);
  bucket.take(64 * 1024 + 1);
  nowMs = 60_000;
  expect(bucket.delayMs).toBe(0);
  bucket.take(64 * 1024 + rate);
  expect(bucket.delayMs).toBeCloseTo(1000);
});

test('without a limit nothing waits', () => {
  const bucket = new TokenBucket(Number.POSITIVE_INFINITY, () => 0);
  bucket.take(1e12);
  expect(bucket.delayMs).toBe(0);
});
