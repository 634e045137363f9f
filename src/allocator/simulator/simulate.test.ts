import { describe, expect, test } from 'vitest';
import { gib, mib } from '../../base/quantity.ts';
import { azureDay, Calls, dayMs, defaultDay, type SimulatedFunction } from './azure-day.ts';
import { EventQueue } from './event-queue.ts';
import { bellows, fixedKeepAlive } from './policy.ts';
import { simulate } from './simulate.ts';
import type { SimulationReport } from './tally.ts';

const untilMs = dayMs / 4;
const functions = azureDay({ ...defaultDay, functions: 120, mostCallsPerDay: 3_000 });
const run = (policy = bellows, capacityBytes = Number.POSITIVE_INFINITY, of = functions): SimulationReport =>
  simulate({ functions: of, seed: 1, policy, capacityBytes, untilMs });

describe('events', () => {
  test('come in order of time, those of one moment in the order they were added', () => {
    const queue = new EventQueue<string>();
    for (const [atMs, event] of [
      [5, 'e'],
      [1, 'a'],
      [3, 'c'],
      [1, 'b'],
      [3, 'd'],
      [0, 'first'],
    ] as const)
      queue.add(atMs, event);
    const order: string[] = [];
    for (let next = queue.next(); next !== undefined; next = queue.next()) order.push(next.event);
    expect(order).toEqual(['first', 'a', 'b', 'c', 'd', 'e']);
  });
});

describe('the day', () => {
  const day = azureDay(defaultDay);
  const callsPerDay = ({ meanGapMs }: SimulatedFunction): number => dayMs / meanGapMs;
  const share = (of: (each: SimulatedFunction) => boolean): number => day.filter(of).length / day.length;

  test('has the rates and the rhythms of the study', () => {
    expect(share((each) => callsPerDay(each) <= 24)).toBeCloseTo(0.45, 1);
    expect(share((each) => callsPerDay(each) <= 1_440)).toBeCloseTo(0.81, 1);
    expect(share(({ rhythm }) => rhythm === 'bursty')).toBeCloseTo(0.4, 1);
  });

  test.each<[string, number, number]>([
    ['periodic', 0, 0.05],
    ['irregular', 0.6, 0.85],
    ['bursty', 1.5, 4],
  ])(
    '%s calls come as often as they should, with the variation that they should have',
    (rhythm, least, most) => {
      const of = day.find((each) => each.rhythm === rhythm)!;
      const calls = new Calls({ ...of, meanGapMs: 1_000 }, 3);
      const times = Array.from({ length: 40_000 }, () => calls.next().atMs);
      const gaps = times.slice(1).map((time, at) => time - (times[at] ?? 0));
      const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
      const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
      expect(mean / 1_000).toBeCloseTo(1, 1);
      expect(deviation / mean).toBeGreaterThanOrEqual(least);
      expect(deviation / mean).toBeLessThan(most);
    },
  );

  test('no call needs more than was asked for', () => {
    for (const of of day.slice(0, 50))
      expect(new Calls(of, 1).next().needBytes).toBeLessThanOrEqual(of.requestBytes);
  });
});

describe('simulation', () => {
  test('the same seed gives the same report', () => {
    expect(run()).toEqual(run());
  });

  test('M-B1: what is learned of arrivals and peaks saves starts and memory against a fixed keep-alive', () => {
    const fixed = run(fixedKeepAlive);
    const ours = run();
    expect(ours.calls).toBe(fixed.calls);
    expect(ours.coldStarts).toBeLessThan(fixed.coldStarts / 2);
    expect(ours.grantedByteMs).toBeLessThan(fixed.usedByteMs);
  });

  test('what is granted is never less than what is used, and nobody runs out of it', () => {
    const { grantedByteMs, usedByteMs, ooms } = run();
    expect(ooms).toBe(0);
    expect(grantedByteMs).toBeGreaterThan(usedByteMs);
  });

  test('one function, one call at a time: the first start is cold, and no other', () => {
    const one: SimulatedFunction = {
      index: 0,
      rhythm: 'periodic',
      meanGapMs: 60_000,
      meanDurationMs: 10,
      peakBytes: 100 * mib,
      requestBytes: 128 * mib,
    };
    const report = run(bellows, Number.POSITIVE_INFINITY, [one]);
    expect(report).toMatchObject({ coldStarts: 1, prewarms: 0, waitedForRoom: 0, evictions: 0 });
    expect(report.calls).toBeGreaterThan(350);
    // Trimmed most of the time.
    expect(report.grantedByteMs / untilMs).toBeLessThan(50 * mib);
  });

  test('instances are counted from their start to their end, and shown moment by moment', () => {
    // The first call is before the first gap is over, and the only instance stays.
    const one: SimulatedFunction = {
      index: 0,
      rhythm: 'periodic',
      meanGapMs: 60_000,
      meanDurationMs: 10,
      peakBytes: 100 * mib,
      requestBytes: 128 * mib,
    };
    const firstMs = new Calls(one, 1).next().atMs;
    const options = { functions: [one], seed: 1, capacityBytes: Number.POSITIVE_INFINITY, untilMs: 600_000 };
    const report = simulate({ ...options, policy: fixedKeepAlive, momentEveryMs: 1_000 });
    expect(report.instanceMs).toBeCloseTo(600_000 - firstMs);
    expect(report.grantedByteMs).toBeCloseTo(report.instanceMs * 128 * mib);
    expect(report.moments.map(({ instances }) => instances)).toEqual(
      Array.from({ length: 600 }, (_, at) => ((at + 1) * 1_000 < firstMs ? 0 : 1)),
    );
  });

  test('a slower start makes more calls wait, and the same calls are served', () => {
    const started = (startMs: number): SimulationReport =>
      simulate({
        functions,
        seed: 1,
        policy: bellows,
        capacityBytes: Number.POSITIVE_INFINITY,
        untilMs,
        startMs,
      });
    const [quick, slow] = [started(100), started(20_000)];
    expect(slow.calls).toBe(quick.calls);
    expect(slow.slowCalls).toBeGreaterThan(quick.slowCalls);
  });

  test('M-B4: on a machine that is too small room is made, never more granted than there is, and nobody runs out', () => {
    const roomy = run();
    const capacityBytes = Math.floor(roomy.mostGrantedBytes / 2);
    const tight = run(bellows, capacityBytes);
    expect(tight.mostGrantedBytes).toBeLessThanOrEqual(capacityBytes);
    expect(tight.evictions).toBeGreaterThan(0);
    expect(tight.ooms).toBe(0);
    expect(tight.calls).toBe(roomy.calls);
  });

  test('what can never fit waits, and the rest goes on', () => {
    const small = functions.filter(({ requestBytes }) => requestBytes <= 192 * mib);
    const report = run(bellows, gib, small);
    expect(report.waitedForRoom).toBeGreaterThan(0);
    expect(report.mostGrantedBytes).toBeLessThanOrEqual(gib);
  });
});
