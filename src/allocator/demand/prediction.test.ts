import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { resourceKinds } from '../../model/resources.ts';
import { demandOf, headroomOf, measuredUse, type UsageSample } from './demand.ts';
import { peakPolicies, WorkloadPrediction } from './prediction.ts';

const runs = { numRuns: 2_000 };
const intervalMs = peakPolicies.memory.intervalMs;
const dayMs = 24 * 3_600_000;
const request = 512 * mib;

function observed(peaks: readonly number[], resource: 'memory' | 'cpu' = 'memory'): WorkloadPrediction {
  const prediction = WorkloadPrediction.empty();
  peaks.forEach((peak, at) => prediction.observe(resource, peak, (at + 1) * intervalMs));
  return prediction;
}

describe('prediction', () => {
  test('a new workload starts from its request, for every resource', () => {
    for (const resource of resourceKinds)
      expect(WorkloadPrediction.empty().predict(resource, 1_000, 0)).toBe(1_000);
  });

  test('M-B1: with three peaks known it is above the highest of them, and the nearer to it the more are known', () => {
    const after = (rounds: number): number =>
      observed(Array.from({ length: 4 * rounds }, (_, at) => (60 + (at % 4) * 10) * mib)).predict(
        'memory',
        request,
        4 * rounds * intervalMs,
      );
    expect(observed([100 * mib, 60 * mib]).predict('memory', request, 2 * intervalMs)).toBe(request);
    expect(after(1)).toBeGreaterThan(120 * mib);
    expect(after(5)).toBeLessThan(after(1));
    expect(after(50)).toBeGreaterThan(90 * mib);
    expect(after(50)).toBeLessThan(100 * mib);
  });

  test('what it needs at this moment counts at once', () => {
    const prediction = observed([50 * mib, 50 * mib, 50 * mib, 50 * mib, 200 * mib]);
    expect(prediction.predict('memory', request, 5 * intervalMs)).toBeGreaterThanOrEqual(200 * mib);
  });

  test('a rare peak of the processor is not provided for, one of memory is', () => {
    const peaks = [...Array.from({ length: 99 }, () => 100), 900];
    const nowMs = 101 * intervalMs;
    expect(observed([...peaks, 100], 'cpu').predict('cpu', 1_000, nowMs)).toBeLessThan(130);
    expect(
      observed([...peaks.map((peak) => peak * mib), 100 * mib]).predict('memory', 1_000 * mib, nowMs),
    ).toBeGreaterThan(900 * mib);
  });

  test('how often somebody looks changes nothing', () => {
    const often = WorkloadPrediction.empty();
    for (let at = 0; at < 300; at += 1)
      often.observe('cpu', at % 60 === 0 ? 800 : 10, intervalMs + at * (intervalMs / 60));
    const seldom = observed([800, 800, 800, 800, 800], 'cpu');
    expect(often.predict('cpu', 2_000, 6 * intervalMs)).toBe(seldom.predict('cpu', 2_000, 6 * intervalMs));
  });

  test('at least every peak of the last day, at most the request', () => {
    const peak = fc.integer({ min: mib, max: 2_000 * mib });
    fc.assert(
      fc.property(fc.array(peak, { minLength: 4, maxLength: 60 }), peak, (peaks, asked) => {
        const predicted = observed(peaks).predict('memory', asked, peaks.length * intervalMs);
        expect(predicted).toBeLessThanOrEqual(asked);
        expect(predicted).toBeGreaterThanOrEqual(Math.min(asked, ...[Math.max(...peaks)]));
      }),
      runs,
    );
  });

  test('a workload that became small is believed after some days', () => {
    const prediction = WorkloadPrediction.empty();
    for (let at = 1; at <= 4; at += 1) prediction.observe('memory', 400 * mib, at * intervalMs);
    for (let day = 1; day <= 14; day += 1)
      for (let at = 0; at < 20; at += 1)
        prediction.observe('memory', 60 * mib, day * dayMs + at * intervalMs);
    expect(prediction.predict('memory', request, 15 * dayMs)).toBeLessThan(75 * mib);
  });

  test('stored and read again it predicts the same', () => {
    const prediction = observed([100 * mib, 60 * mib, 80 * mib, 70 * mib, 90 * mib]);
    const nowMs = 6 * intervalMs;
    const stored = JSON.parse(JSON.stringify(prediction.toStored(nowMs))) as ReturnType<
      WorkloadPrediction['toStored']
    >;
    const again = WorkloadPrediction.fromStored(stored);
    expect(again.predict('memory', request, nowMs)).toBe(prediction.predict('memory', request, nowMs));
    expect(JSON.stringify(stored).length).toBeLessThan(1_000);
  });
});

describe('demand', () => {
  const sample = (change: Partial<UsageSample>): UsageSample => ({
    atMs: 0,
    workingSetBytes: 0,
    cpuUsageMicros: 0,
    cpuThrottledMicros: 0,
    storageBytes: 0,
    bandwidthBytes: 0,
    ...change,
  });

  test('M-B1: measured use is levels and rates, and throttled time was wanted, too', () => {
    const after = sample({
      atMs: 2_000,
      workingSetBytes: 7,
      cpuUsageMicros: 500_000,
      cpuThrottledMicros: 1_500_000,
      storageBytes: 9,
      bandwidthBytes: 3_000,
    });
    expect(measuredUse(sample({}), after)).toEqual({ memory: 7, cpu: 1_000, storage: 9, bandwidth: 1_500 });
  });

  test('samples of one moment, or a counter that began anew, are no rate', () => {
    expect(measuredUse(sample({ cpuUsageMicros: 9 }), sample({}))).toMatchObject({ cpu: 0, bandwidth: 0 });
    expect(measuredUse(sample({ cpuUsageMicros: 9 }), sample({ atMs: 5 }))).toMatchObject({ cpu: 0 });
  });

  test('M-B6: idle, it demands what it uses; active, what it is expected to need', () => {
    const input = {
      resource: 'memory',
      used: 50 * mib,
      predicted: 120 * mib,
      request,
      floor: 32 * mib,
    } as const;
    expect(demandOf({ ...input, activity: 'frozen' })).toBe(50 * mib);
    expect(demandOf({ ...input, activity: 'idle' })).toBe(75 * mib);
    expect(demandOf({ ...input, activity: 'active' })).toBe(120 * mib);
  });

  test('between floor and request, never below what is used with its headroom unless the request is', () => {
    const amount = fc.nat(2 ** 40);
    const input = fc.record({
      resource: fc.constantFrom(...resourceKinds),
      used: amount,
      predicted: amount,
      request: amount,
      floor: amount,
      activity: fc.constantFrom('frozen' as const, 'idle' as const, 'active' as const),
    });
    fc.assert(
      fc.property(input, (given) => {
        const demand = demandOf(given);
        expect(demand).toBeLessThanOrEqual(given.request);
        expect(demand).toBeGreaterThanOrEqual(Math.min(given.floor, given.request));
        expect(demand).toBeGreaterThanOrEqual(
          Math.min(
            given.used + (given.activity === 'frozen' ? 0 : headroomOf(given.resource, given.used)),
            given.request,
          ),
        );
      }),
      runs,
    );
  });
});
