import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concurrencyCap, instancesToStart, leastUnreserved, type FunctionLoad } from './scale.ts';

const runs = { numRuns: 2_000 };
const quiet: FunctionLoad = {
  busy: 0,
  idle: 0,
  starting: 0,
  waiting: 0,
  oldestWaitMs: 0,
  serviceMs: null,
  startMs: 100,
};

const count = fc.nat(50);
const load: fc.Arbitrary<FunctionLoad> = fc.record({
  busy: count,
  idle: count,
  starting: count,
  waiting: fc.nat(500),
  oldestWaitMs: fc.nat(2_000),
  serviceMs: fc.option(fc.nat(5_000)),
  startMs: fc.nat(1_000),
});

describe('instances to start', () => {
  test.each<[string, Partial<FunctionLoad>, number, number]>([
    ['nothing waits', { busy: 3 }, 10, 0],
    ['the first request', { waiting: 1 }, 10, 1],
    ['one under way is enough for one', { waiting: 1, starting: 1 }, 10, 0],
    ['nothing is known of the service time: one each', { waiting: 4, busy: 2 }, 10, 4],
    ['short events: the running ones clear the queue sooner', { waiting: 19, busy: 2, serviceMs: 10 }, 10, 0],
    ['more than they can clear meanwhile', { waiting: 23, busy: 2, serviceMs: 10 }, 10, 3],
    ['long events: a new one each', { waiting: 5, busy: 2, serviceMs: 60_000 }, 10, 5],
    [
      'the estimate was wrong: the first waits longer than a start takes',
      { waiting: 5, busy: 2, serviceMs: 10, oldestWaitMs: 101 },
      10,
      5,
    ],
    ['nobody runs who could clear it', { waiting: 5, serviceMs: 1 }, 10, 5],
    ['a service time of nothing', { waiting: 5, busy: 1, serviceMs: 0 }, 10, 0],
    ['the cap', { waiting: 50, busy: 4, starting: 3, serviceMs: 60_000 }, 10, 3],
    ['at the cap', { waiting: 50, busy: 10 }, 10, 0],
    ['a cap of nothing', { waiting: 50 }, 0, 0],
    ['a cap that was lowered below what runs', { waiting: 50, busy: 10 }, 4, 0],
  ])('%s', (_, change, cap, expected) => {
    expect(instancesToStart({ ...quiet, ...change }, cap)).toBe(expected);
  });

  test('never more than wait, never above the cap, and what waits with nobody there is served', () => {
    fc.assert(
      fc.property(load, count, (state, cap) => {
        const started = instancesToStart(state, cap);
        expect(started).toBeGreaterThanOrEqual(0);
        expect(started).toBeLessThanOrEqual(state.waiting);
        if (started > 0) expect(state.busy + state.idle + state.starting + started).toBeLessThanOrEqual(cap);
        if (state.waiting > 0 && state.busy + state.idle + state.starting === 0 && cap > 0)
          expect(started).toBeGreaterThan(0);
      }),
      runs,
    );
  });

  test('a longer queue never starts fewer, and starting what was asked for asks for no more', () => {
    fc.assert(
      fc.property(load, count, fc.nat(20), (state, cap, more) => {
        const started = instancesToStart(state, cap);
        expect(instancesToStart({ ...state, waiting: state.waiting + more }, cap)).toBeGreaterThanOrEqual(
          started,
        );
        expect(instancesToStart({ ...state, starting: state.starting + started }, cap)).toBe(0);
      }),
      runs,
    );
  });
});

describe('concurrency', () => {
  const none = { reserved: null, tenant: null, reservedByOthers: 0, unreservedInUse: 0 };
  test.each([
    ['Lambda’s default', none, 1_000],
    ['the tenant’s limit', { ...none, tenant: 10 }, 10],
    [
      'less what others have reserved and use',
      { ...none, tenant: 10, reservedByOthers: 3, unreservedInUse: 4 },
      3,
    ],
    ['nothing left', { ...none, tenant: 10, reservedByOthers: 8, unreservedInUse: 4 }, 0],
    [
      'its own reservation, whatever others do',
      { reserved: 5, tenant: 10, reservedByOthers: 5, unreservedInUse: 9 },
      5,
    ],
    ['reserved nothing: switched off', { ...none, reserved: 0 }, 0],
    ['a reservation above a lowered limit', { ...none, reserved: 50, tenant: 10 }, 10],
  ])('%s', (_, limits, expected) => {
    expect(concurrencyCap(limits)).toBe(expected);
  });
});

test.each([
  [1_000, 100],
  [20, 2],
  [5, 1],
  [1, 1],
  [0, 0],
])('of %i, %i can not be reserved', (limit, least) => {
  expect(leastUnreserved(limit)).toBe(least);
});
