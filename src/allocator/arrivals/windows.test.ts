import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { binMs, IdleHistory, rangeMs } from './idle-history.ts';
import { defaultWindowPolicy, windowsOf } from './windows.ts';

const runs = { numRuns: 2_000 };
const minutes = (count: number): number => count * binMs;

function known(idleMs: readonly number[]): IdleHistory {
  const history = new IdleHistory();
  for (const idle of idleMs) history.observe(idle, 0);
  return history;
}
const often = (idle: number, count: number): number[] => Array.from({ length: count }, () => idle);

describe('keep-alive and pre-warming windows', () => {
  test('nothing known, or too little: a fixed time', () => {
    expect(windowsOf(known([]), 0)).toEqual({ prewarmAfterMs: 0, keepAliveMs: rangeMs, from: 'fixed' });
    expect(windowsOf(known(often(minutes(30), 4)), 0).from).toBe('fixed');
  });

  test('always after half an hour: gone soon, there again shortly before, and for as long again as it takes', () => {
    const { prewarmAfterMs, keepAliveMs, from } = windowsOf(known(often(minutes(30.5), 20)), 0);
    expect(from).toBe('histogram');
    expect(prewarmAfterMs).toBe(minutes(27));
    expect(prewarmAfterMs + keepAliveMs).toBeCloseTo(minutes(62));
  });

  test('mostly at once: kept, for twice as long as nearly all calls need', () => {
    const { prewarmAfterMs, keepAliveMs } = windowsOf(
      known([...often(100, 97), ...often(minutes(8.5), 3)]),
      0,
    );
    expect(prewarmAfterMs).toBe(0);
    expect(keepAliveMs).toBeCloseTo(minutes(18));
  });

  test('all idle times alike likely: a fixed time', () => {
    const spread = Array.from({ length: 480 }, (_, at) => minutes(at / 2));
    expect(windowsOf(known(spread), 0).from).toBe('fixed');
  });

  test('mostly beyond the range, and alike: from the last of them', () => {
    const { prewarmAfterMs, keepAliveMs, from } = windowsOf(known(often(minutes(600), 4)), 0);
    expect(from).toBe('last idle times');
    expect(prewarmAfterMs).toBe(minutes(420));
    expect(prewarmAfterMs + keepAliveMs).toBe(minutes(780));
  });

  test('mostly beyond the range, and unlike each other: a fixed time', () => {
    expect(windowsOf(known([300, 900, 2_000, 5_000].map(minutes)), 0).from).toBe('fixed');
    expect(windowsOf(known(often(minutes(600), 2)), 0).from).toBe('fixed');
  });

  test('what was learned fades: old idle times weigh less than new ones', () => {
    const history = known(often(minutes(200.5), 50));
    for (let at = 0; at < 50; at += 1) history.observe(minutes(3.5), 56 * 24 * 3_600_000);
    const { prewarmAfterMs, keepAliveMs } = windowsOf(history, 56 * 24 * 3_600_000);
    expect(prewarmAfterMs + keepAliveMs).toBeLessThan(minutes(9));
  });

  const idle = fc.oneof(fc.nat(minutes(20)), fc.nat(rangeMs * 3));
  test('of idle times within the range the window from a histogram misses no more than its head and its tail', () => {
    fc.assert(
      fc.property(fc.array(idle, { minLength: 5, maxLength: 60 }), (times) => {
        const windows = windowsOf(known(times), 0);
        expect(windows.prewarmAfterMs).toBeGreaterThanOrEqual(0);
        expect(windows.keepAliveMs).toBeGreaterThan(0);
        if (windows.from !== 'histogram') return;
        const within = times.filter((time) => time < rangeMs);
        const early = within.filter((time) => time < windows.prewarmAfterMs);
        const late = within.filter((time) => time > windows.prewarmAfterMs + windows.keepAliveMs);
        expect(early.length).toBeLessThanOrEqual(defaultWindowPolicy.head * within.length);
        expect(late.length).toBeLessThanOrEqual((1 - defaultWindowPolicy.tail) * within.length + 1e-9);
      }),
      runs,
    );
  });

  test('stored and read again the windows are the same', () => {
    fc.assert(
      fc.property(fc.array(idle, { maxLength: 60 }), (times) => {
        const history = known(times);
        const stored = JSON.parse(JSON.stringify(history.toStored(0))) as ReturnType<IdleHistory['toStored']>;
        expect(windowsOf(IdleHistory.fromStored(stored), 0)).toEqual(windowsOf(history, 0));
      }),
      runs,
    );
  });
});
