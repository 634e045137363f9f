// What is told of calls between two reports.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Bench } from './testing/bench.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('what is told of calls between two reports', () => {
  test('the most instances that worked at once, when the first began and when the last was done', async () => {
    const bench = new Bench();
    expect(bench.pool.takeCalls()).toBeUndefined();
    bench.add('a');
    bench.add('b');
    const calledAtMs = Date.now();
    bench.submit('1');
    await vi.advanceTimersByTimeAsync(100);
    bench.submit('2');
    await vi.advanceTimersByTimeAsync(100);
    bench.answer('a');
    bench.answer('b');
    const endedAtMs = Date.now();
    expect(bench.pool.takeCalls()).toEqual({ most: 2, calledAtMs, endedAtMs });
    expect(bench.pool.takeCalls()).toBeUndefined();
  });

  test('who goes on working is told when it is done, and began no second time', async () => {
    const bench = new Bench();
    bench.add('a');
    bench.submit('1');
    expect(bench.pool.takeCalls()).toMatchObject({ most: 1, endedAtMs: null });
    expect([bench.pool.takeCalls(), bench.pool.busyInstances]).toEqual([undefined, 1]);
    await vi.advanceTimersByTimeAsync(100);
    bench.answer('a');
    expect(bench.pool.takeCalls()).toEqual({ most: 1, calledAtMs: null, endedAtMs: Date.now() });
    expect(bench.pool.busyInstances).toBe(0);
  });
});
