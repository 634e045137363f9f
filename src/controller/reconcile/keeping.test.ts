import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Expectation } from '../demand/call-times.ts';
import { isDue, mayEnd, type KeepPolicy } from './keeping.ts';

const minute = 60_000;
const keepAliveMs = 10 * minute;
/** Watched for a day; called every half an hour, within three minutes. */
const halfHourly: Expectation = {
  windows: { prewarmAfterMs: 27 * minute, keepAliveMs: 7 * minute, from: 'histogram' },
  lastEndedMs: 0,
  knownSinceMs: -24 * 60 * minute,
};
const at = (nowMs: number, more: Partial<KeepPolicy> = {}): KeepPolicy => ({
  nowMs,
  keepAliveMs,
  isFixed: false,
  ...more,
});
const used = { idleSinceMs: 0, depth: 1 };

describe('how long an idle instance stays', () => {
  test.each([
    ['nothing known', undefined],
    ['too little known', { ...halfHourly, windows: { ...halfHourly.windows, from: 'fixed' as const } }],
  ])('%s: for the keep-alive', (_, expectation) => {
    expect(mayEnd(used, expectation, at(keepAliveMs - 1))).toBe(false);
    expect(mayEnd(used, expectation, at(keepAliveMs))).toBe(true);
  });

  test('a keep-alive that somebody named holds, whatever is known', () => {
    for (const nowMs of [minute, 5 * minute, 9 * minute, 28 * minute])
      expect(mayEnd(used, halfHourly, at(nowMs, { isFixed: true }))).toBe(nowMs >= keepAliveMs);
    expect(isDue(halfHourly, at(28 * minute, { isFixed: true }))).toBe(false);
  });

  test('M-B1: whose next call is far away goes once it rests, and one that is there in its window stays until that is over', () => {
    expect(mayEnd(used, halfHourly, at(5_000))).toBe(false);
    expect(mayEnd(used, halfHourly, at(minute))).toBe(true);
    const startedAhead = { idleSinceMs: 27 * minute, depth: 1 };
    expect(mayEnd(startedAhead, halfHourly, at(28 * minute))).toBe(false);
    expect(mayEnd(startedAhead, halfHourly, at(34 * minute))).toBe(true);
  });

  test('longer than the keep-alive where calls are known to come later', () => {
    const kept = {
      ...halfHourly,
      windows: { ...halfHourly.windows, prewarmAfterMs: 0, keepAliveMs: 34 * minute },
    };
    expect(mayEnd(used, kept, at(33 * minute))).toBe(false);
    expect(mayEnd(used, kept, at(34 * minute))).toBe(true);
  });

  test('shorter than the keep-alive is only believed of functions that were watched for long', () => {
    const busy = {
      ...halfHourly,
      windows: { ...halfHourly.windows, prewarmAfterMs: 0, keepAliveMs: 2 * minute },
    };
    expect(mayEnd(used, busy, at(3 * minute))).toBe(true);
    const new_ = { ...busy, knownSinceMs: -minute };
    expect(mayEnd(used, new_, at(3 * minute))).toBe(false);
    expect(mayEnd(used, new_, at(keepAliveMs))).toBe(true);
  });

  test('the second instance is kept by its own idle time, and is never away', () => {
    const second = { idleSinceMs: 20 * minute, depth: 2 };
    const windows = { prewarmAfterMs: 0, keepAliveMs: 34 * minute, from: 'histogram' as const };
    expect(mayEnd(second, { ...halfHourly, windows }, at(50 * minute))).toBe(false);
    expect(mayEnd(second, { ...halfHourly, windows }, at(54 * minute))).toBe(true);
  });
});

describe('when one is started ahead', () => {
  test('shortly before its window and until that is over, and not where one is kept anyway', () => {
    const due = (nowMs: number): boolean => isDue(halfHourly, at(nowMs));
    expect([minute, 26 * minute, 27 * minute - 10_000, 33 * minute, 34 * minute].map(due)).toEqual([
      false,
      false,
      true,
      true,
      false,
    ]);
    expect(isDue({ ...halfHourly, lastEndedMs: null }, at(28 * minute))).toBe(false);
    expect(isDue({ ...halfHourly, windows: { ...halfHourly.windows, prewarmAfterMs: 0 } }, at(minute))).toBe(
      false,
    );
  });

  test('what is due may not be ended: nobody is started to be ended at once', () => {
    const span = fc.nat(300 * minute);
    fc.assert(
      fc.property(span, span, span, span, span, (prewarmAfterMs, keptMs, nowMs, knownMs, idleMs) => {
        const expectation: Expectation = {
          windows: { prewarmAfterMs, keepAliveMs: keptMs, from: 'histogram' },
          lastEndedMs: 0,
          knownSinceMs: nowMs - knownMs,
        };
        if (!isDue(expectation, at(nowMs))) return;
        expect(mayEnd({ idleSinceMs: nowMs - idleMs, depth: 1 }, expectation, at(nowMs))).toBe(false);
      }),
    );
  });
});
