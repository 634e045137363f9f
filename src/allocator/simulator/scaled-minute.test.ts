import { describe, expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { azureDay, defaultDay } from './azure-day.ts';
import { live } from './policy.ts';
import { callsBefore, minuteMs, scaled, speed } from './scaled-minute.ts';
import { simulate } from './simulate.ts';

const day = azureDay({ ...defaultDay, functions: 60, mostCallsPerDay: 2_400 });
const minute = scaled(day);

describe('a scaled minute', () => {
  test('has the functions of the day, called sixty times as often, and small enough to be run', () => {
    for (const [index, of] of minute.entries()) {
      expect(of.meanGapMs * speed).toBeCloseTo(day[index]!.meanGapMs);
      expect(of.meanDurationMs).toBeLessThanOrEqual(2_000);
      expect(of.requestBytes - of.peakBytes).toBeGreaterThanOrEqual(64 * mib);
    }
  });

  test('its calls are those that the simulator draws, in the order of their times', () => {
    const calls = callsBefore(minuteMs, minute, 5);
    const report = simulate({
      functions: minute,
      seed: 5,
      policy: live(10_000),
      capacityBytes: Number.POSITIVE_INFINITY,
      untilMs: minuteMs,
    });
    expect(calls.length).toBeGreaterThan(100);
    expect(report.calls).toBe(calls.length);
    expect(calls.every(({ atMs }, at) => atMs < minuteMs && atMs >= (calls[at - 1]?.atMs ?? 0))).toBe(true);
  });
});
