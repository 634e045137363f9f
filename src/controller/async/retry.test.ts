import { describe, expect, test } from 'vitest';
import { defaultTuning } from '../config.ts';
import { afterAttempt } from './retry.ts';

describe('retries of asynchronous invocations', () => {
  const fresh = { enqueuedAtMs: 0, failures: 0, throttles: 0 };

  test('a failure is retried as often as configured, then given up', () => {
    expect(afterAttempt(fresh, 'functionError', 0, 0, defaultTuning)).toMatchObject({ next: 'failed' });
    const first = afterAttempt(fresh, 'functionError', 1, 0, defaultTuning);
    expect(first).toMatchObject({ next: 'later', notBeforeMs: 15_000 });
    if (first.next === 'later')
      expect(afterAttempt(first.progress, 'functionError', 1, 0, defaultTuning)).toMatchObject({
        next: 'failed',
      });
  });

  test('throttling alone ends in being given up after six hours, never sooner', () => {
    let progress = fresh;
    let nowMs = 0;
    for (;;) {
      const next = afterAttempt(progress, 'throttled', 2, nowMs, defaultTuning);
      if (next.next !== 'later') {
        expect(next.next).toBe('failed');
        break;
      }
      expect(next.progress.failures).toBe(0);
      progress = next.progress;
      nowMs = next.notBeforeMs;
    }
    expect(nowMs).toBeGreaterThan(defaultTuning.asyncMaxAgeMs - defaultTuning.asyncThrottleLongestMs);
  });
});
