import { expect, test } from 'vitest';
import type { WorkloadKey } from '../../base/ids.ts';
import type { CallTrace } from '../../protocol/routes.ts';
import { CallTimes } from './call-times.ts';
import type { Memories } from './memories.ts';
import { newMemory } from './stored-memory.ts';

const minute = 60_000;
const shop = 'acme/shop' as WorkloadKey;

class Bench {
  nowMs = 0;
  readonly #memory = newMemory(0);
  readonly #memories: Pick<Memories, 'find' | 'change'> = {
    find: () => this.#memory,
    change: () => this.#memory,
  };
  readonly times = new CallTimes(this.#memories as Memories, {
    nowMs: () => this.nowMs,
    monotonicMs: () => this.nowMs,
  });

  report(busyInstances: number, calls?: Partial<CallTrace>): void {
    const none = {
      requests: 0,
      errors: 0,
      throttles: 0,
      waiting: 0,
      connections: 0,
      bytesIn: 0,
      bytesOut: 0,
    };
    const trace = { most: busyInstances, calledAtMs: null, endedAtMs: null, ...calls };
    this.times.onTraffic([
      { ...none, workload: shop, busyInstances, ...(calls === undefined ? {} : { calls: trace }) },
    ]);
  }
}

test('from reports of a second each it learns when a function is called', () => {
  const bench = new Bench();
  for (let round = 0; round < 10; round += 1) {
    bench.nowMs += 30.5 * minute;
    bench.report(0, { most: 2, calledAtMs: bench.nowMs - 900, endedAtMs: bench.nowMs - 100 });
  }
  expect(bench.times.expectation(shop, 1)).toMatchObject({
    windows: { prewarmAfterMs: 27 * minute, from: 'histogram' },
    lastEndedMs: bench.nowMs - 100,
  });
  expect(bench.times.expectation(shop, 2)?.windows).toMatchObject({ prewarmAfterMs: 0, from: 'histogram' });
});

test('one that works through many reports was called once, and ended when it was said to', () => {
  const bench = new Bench();
  bench.report(1, { calledAtMs: 0 });
  for (bench.nowMs = 1_000; bench.nowMs < 5 * minute; bench.nowMs += 1_000) bench.report(1);
  expect(bench.times.expectation(shop, 1)?.lastEndedMs).toBeNull();
  bench.report(0, { most: 1, endedAtMs: bench.nowMs - 500 });
  expect(bench.times.expectation(shop, 1)?.lastEndedMs).toBe(bench.nowMs - 500);
});

test('what another gateway had in use has ended for all that is known', () => {
  const bench = new Bench();
  bench.report(3, { calledAtMs: 0 });
  bench.nowMs = minute;
  bench.times.onGateway();
  expect(bench.times.expectation(shop, 1)?.lastEndedMs).toBe(minute);
});
