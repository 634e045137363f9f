import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dueAtMs, hostKeepAlive, mayEndAtMs, type Expectation, type KeepAlive } from './keeping.ts';

const minute = 60_000;
const keptMs = 10 * minute;
const hour = 60 * minute;
const learned: KeepAlive = { type: 'learned', firstMs: 4 * hour, furtherMs: keptMs };
const fixed: KeepAlive = { type: 'fixed', keptMs };
/** Watched for a day; called every half an hour, within three minutes. */
const halfHourly: Expectation = {
  windows: { prewarmAfterMs: 27 * minute, keepAliveMs: 7 * minute, from: 'histogram' },
  lastEndedMs: 0,
  knownSinceMs: -24 * hour,
};
const unknown = { ...halfHourly, windows: { ...halfHourly.windows, from: 'fixed' as const } };
const kept = (keepAliveMs: number): Expectation => ({
  ...halfHourly,
  windows: { prewarmAfterMs: 0, keepAliveMs, from: 'histogram' },
});
const only = { idleSinceMs: 0, depth: 1, isOnly: true };
const first = { ...only, isOnly: false };
const second = { idleSinceMs: 0, depth: 2, isOnly: false };

describe('how long an idle instance stays', () => {
  test.each([
    ['nothing known', undefined],
    ['too little known', unknown],
  ])('%s: four hours for the one that is used next, ten minutes for those beyond it', (_, expectation) => {
    expect(mayEndAtMs(only, expectation, hostKeepAlive, 0)).toBe(4 * hour);
    expect(mayEndAtMs(first, expectation, hostKeepAlive, 0)).toBe(4 * hour);
    expect(mayEndAtMs(second, expectation, hostKeepAlive, 0)).toBe(10 * minute);
  });

  test('a keep-alive that somebody named holds, whatever is known', () => {
    for (const expectation of [undefined, unknown, halfHourly, kept(hour)])
      expect(mayEndAtMs(only, expectation, fixed, minute)).toBe(keptMs);
    expect(dueAtMs(halfHourly, fixed, 28 * minute)).toBeNull();
  });

  test('M-B1: whose next call is far away goes once it rests, and one that is there in its window stays until that is over', () => {
    expect(mayEndAtMs(only, halfHourly, learned, 5_000)).toBe(10_000);
    expect(mayEndAtMs(only, halfHourly, learned, minute)).toBe(minute);
    const startedAhead = { ...only, idleSinceMs: 27 * minute };
    expect(mayEndAtMs(startedAhead, halfHourly, learned, 28 * minute)).toBe(34 * minute);
  });

  test('while there is another one, none goes to be started again', () => {
    expect(mayEndAtMs(first, halfHourly, learned, minute)).toBe(34 * minute);
  });

  test('as long as calls are known to come, be that longer or shorter than while nothing is known', () => {
    expect(mayEndAtMs(only, kept(5 * hour), learned, minute)).toBe(5 * hour);
    expect(mayEndAtMs(only, kept(2 * minute), learned, minute)).toBe(2 * minute);
    expect(mayEndAtMs(second, kept(34 * minute), learned, minute)).toBe(34 * minute);
  });

  test('shorter is only believed of functions that were watched for long', () => {
    const watchedFor = (ms: number): Expectation => ({ ...kept(2 * minute), knownSinceMs: -ms });
    expect(mayEndAtMs(only, watchedFor(90 * minute), learned, 3 * minute)).toBe(10 * minute);
    expect(mayEndAtMs(only, watchedFor(minute), learned, 3 * minute)).toBe(99 * minute);
    expect(mayEndAtMs(second, watchedFor(minute), learned, 3 * minute)).toBe(10 * minute);
    // Nor that it is away.
    expect(mayEndAtMs(only, { ...halfHourly, knownSinceMs: 0 }, learned, minute)).toBe(100 * minute);
  });
});

describe('when one is started ahead', () => {
  test('shortly before its window and until that is over, and not where one is kept anyway', () => {
    const due = (nowMs: number): number | null => dueAtMs(halfHourly, learned, nowMs);
    expect(due(minute)).toBe(27 * minute - 10_000);
    expect(due(33 * minute)).toBe(33 * minute);
    expect(due(34 * minute)).toBeNull();
    expect(dueAtMs({ ...halfHourly, lastEndedMs: null }, learned, 28 * minute)).toBeNull();
    expect(dueAtMs(kept(hour), learned, minute)).toBeNull();
    expect(dueAtMs(undefined, learned, minute)).toBeNull();
  });
});

describe('whatever is known', () => {
  const span = fc.nat(300 * minute);
  const knowing = fc.record({ prewarmAfterMs: span, keptMs: span, nowMs: span, knownMs: span, idleMs: span });
  const expecting = (of: {
    prewarmAfterMs: number;
    keptMs: number;
    nowMs: number;
    knownMs: number;
  }): Expectation => ({
    windows: { prewarmAfterMs: of.prewarmAfterMs, keepAliveMs: of.keptMs, from: 'histogram' },
    lastEndedMs: 0,
    knownSinceMs: of.nowMs - of.knownMs,
  });

  test('what is due may not be ended: nobody is started to be ended at once', () => {
    fc.assert(
      fc.property(knowing, fc.boolean(), (of, isOnly) => {
        const { nowMs, idleMs } = of;
        const expectation = expecting(of);
        if (dueAtMs(expectation, learned, nowMs) !== nowMs) return;
        const instance = { idleSinceMs: nowMs - idleMs, depth: 1, isOnly };
        expect(mayEndAtMs(instance, expectation, learned, nowMs)).toBeGreaterThan(nowMs);
      }),
    );
  });

  test('who looks at each moment ends it, or starts it, when it was foretold', () => {
    fc.assert(
      fc.property(knowing, fc.boolean(), span, (of, isOnly, laterMs) => {
        const { nowMs, idleMs } = of;
        const expectation = expecting(of);
        const instance = { idleSinceMs: nowMs - idleMs, depth: 1, isOnly };
        const endMs = mayEndAtMs(instance, expectation, learned, nowMs);
        const before = Math.min(nowMs + laterMs, endMs - 1);
        expect(mayEndAtMs(instance, expectation, learned, endMs)).toBe(endMs);
        if (before >= nowMs) expect(mayEndAtMs(instance, expectation, learned, before)).toBe(endMs);
        const dueMs = dueAtMs(expectation, learned, nowMs);
        if (dueMs !== null) expect(dueAtMs(expectation, learned, dueMs)).toBe(dueMs);
      }),
    );
  });
});
