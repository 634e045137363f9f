import { describe, expect, test } from 'vitest';
import { FunctionArrivals } from './function-arrivals.ts';
import { binMs, rangeMs } from './idle-history.ts';

/** Every 30.5 minutes two calls at once, each a second long. */
function pairs(rounds: number): { arrivals: FunctionArrivals; nowMs: number } {
  const arrivals = new FunctionArrivals();
  let nowMs = 0;
  for (let round = 0; round < rounds; round += 1) {
    nowMs += 30.5 * binMs;
    arrivals.called(0, nowMs);
    arrivals.called(1, nowMs);
    nowMs += 1_000;
    arrivals.ended(nowMs);
    arrivals.ended(nowMs);
  }
  return { arrivals, nowMs };
}

describe('arrivals of a function', () => {
  test('M-B1: the first instance goes and comes back in time; a second one is kept, not started ahead', () => {
    const { arrivals, nowMs } = pairs(20);
    const first = arrivals.windows(1, nowMs);
    expect(first).toMatchObject({ prewarmAfterMs: 27 * binMs, from: 'histogram' });
    const second = arrivals.windows(2, nowMs);
    expect(second).toMatchObject({ prewarmAfterMs: 0, from: 'histogram' });
    expect(second.keepAliveMs).toBeCloseTo(62 * binMs);
  });

  test('of a concurrency that never was, nothing is known', () => {
    const { arrivals, nowMs } = pairs(20);
    expect(arrivals.windows(8, nowMs)).toEqual({ prewarmAfterMs: 0, keepAliveMs: rangeMs, from: 'fixed' });
  });

  test('it remembers who is used next, and not more places than there are instances to speak of', () => {
    const { arrivals, nowMs } = pairs(1);
    expect(arrivals.lastEndedMs).toBe(nowMs);
    for (let at = 1; at <= 1_000; at += 1) arrivals.ended(nowMs + at);
    expect(arrivals.lastEndedMs).toBe(nowMs + 1_000);
    expect(arrivals.toStored(nowMs).freedAtMs.length).toBeLessThanOrEqual(128);
    expect(new FunctionArrivals().lastEndedMs).toBeNull();
  });

  test('stored and read again it knows the same, and who is idle since when', () => {
    const { arrivals, nowMs } = pairs(20);
    const stored = JSON.parse(JSON.stringify(arrivals.toStored(nowMs))) as ReturnType<
      FunctionArrivals['toStored']
    >;
    const again = FunctionArrivals.fromStored(stored);
    for (const depth of [1, 2, 3, 4])
      expect(again.windows(depth, nowMs)).toEqual(arrivals.windows(depth, nowMs));
    expect(again.toStored(nowMs)).toEqual(arrivals.toStored(nowMs));
  });
});
