import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bindHistoryMs, defaultPoolPolicy, poolSize, type PoolPolicy } from './pool-size.ts';

const runs = { numRuns: 2_000 };
const plenty = Number.MAX_SAFE_INTEGER;
const policy: PoolPolicy = {
  minimum: 2,
  maximum: 20,
  windowMs: 10_000,
  halfLifeMs: 60_000,
  processMemoryBytes: 100,
};
const sizeAt = (binds: readonly number[], nowMs: number, memory = plenty): number =>
  poolSize(binds, nowMs, memory, policy);
const burstOf = (count: number, atMs: number): number[] => Array.from({ length: count }, () => atMs);

const times = fc.array(fc.nat(600_000), { maxLength: 60 }).map((list) => list.sort((a, b) => a - b));

describe('warm pool size', () => {
  test.each<[string, number[], number, number]>([
    ['nothing happened: the minimum', [], 0, 2],
    ['a burst: at once as many as it took', burstOf(8, 1_000), 1_000, 8],
    ['held for the window', burstOf(8, 0), 10_000, 8],
    ['half after a half-life', burstOf(8, 0), 70_000, 4],
    ['at the minimum in the end', burstOf(8, 0), 300_000, 2],
    ['a second, smaller burst does not lower it', [...burstOf(8, 0), ...burstOf(3, 9_999)], 10_000, 11],
    ['binds spread wider than the window are no burst', [0, 10_000, 20_000, 30_000], 30_000, 2],
    ['the maximum', burstOf(500, 0), 0, 20],
    ['a huge burst is not remembered longer than one of the maximum', burstOf(5_000, 0), 70_000, 10],
  ])('%s', (_, binds, nowMs, expected) => {
    expect(sizeAt(binds, nowMs)).toBe(expected);
  });

  test.each([
    [799, 7],
    [100, 1],
    [99, 0],
    [-5, 0],
  ])('with memory for so many only: %i bytes make %i', (memory, expected) => {
    expect(sizeAt(burstOf(10, 0), 0, memory)).toBe(expected);
  });

  test('a maximum of 0 means none, whatever was started', () => {
    expect(poolSize(burstOf(8, 0), 0, 1e12, { ...defaultPoolPolicy, maximum: 0 })).toBe(0);
  });

  test('it covers what the last window took, within its bounds', () => {
    fc.assert(
      fc.property(times, (binds) => {
        const nowMs = binds.at(-1) ?? 0;
        const inWindow = binds.filter((timeMs) => timeMs > nowMs - policy.windowMs).length;
        const size = sizeAt(binds, nowMs);
        expect(size).toBeGreaterThanOrEqual(Math.min(inWindow, policy.maximum));
        expect(size).toBeGreaterThanOrEqual(policy.minimum);
        expect(size).toBeLessThanOrEqual(policy.maximum);
      }),
      runs,
    );
  });

  test('without new binds it only shrinks', () => {
    fc.assert(
      fc.property(times, fc.nat(600_000), fc.nat(600_000), (binds, first, more) => {
        const nowMs = (binds.at(-1) ?? 0) + first;
        expect(sizeAt(binds, nowMs + more)).toBeLessThanOrEqual(sizeAt(binds, nowMs));
      }),
      runs,
    );
  });

  test('what is older than the history changes nothing', () => {
    fc.assert(
      fc.property(times, fc.nat(1_200_000), (binds, after) => {
        const nowMs = (binds.at(-1) ?? 0) + after;
        const kept = binds.filter((timeMs) => timeMs >= nowMs - bindHistoryMs(policy));
        expect(sizeAt(kept, nowMs)).toBe(sizeAt(binds, nowMs));
      }),
      runs,
    );
  });

  test('the default keeps a little ready, and bounds it', () => {
    expect(poolSize([], 0, plenty)).toBe(defaultPoolPolicy.minimum);
    expect(poolSize(burstOf(1_000, 0), 0, plenty)).toBe(defaultPoolPolicy.maximum);
  });
});
