import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concurrencyCap, instancesToStart, leastUnreserved, type FunctionLoad } from './scale.ts';

const runs = { numRuns: 2_000 };
const quiet: FunctionLoad = {
  busy: 0,
  idle: 0,
  starting: 0,
  waiting: 0,
  head: { waitedMs: 0, takenUp: 0 },
  serviceMs: null,
  startMs: 100,
};

const count = fc.nat(50);
const load: fc.Arbitrary<FunctionLoad> = fc.record({
  busy: count,
  idle: count,
  starting: count,
  waiting: fc.nat(500),
  head: fc.record({ waitedMs: fc.nat(2_000), takenUp: fc.nat(500) }),
  serviceMs: fc.option(fc.double({ min: 0, max: 5_000, noNaN: true })),
  startMs: fc.nat(1_000),
});

describe('instances to start', () => {
  test.each<[string, Partial<FunctionLoad>, number, number]>([
    ['nothing waits', { busy: 3 }, 10, 0],
    ['the first request', { waiting: 1 }, 10, 1],
    ['one under way is enough for one', { waiting: 1, starting: 1 }, 10, 0],
    ['nothing is known of the service time: one each', { waiting: 4, busy: 2 }, 10, 4],
    ['short events: the running ones clear the queue sooner', { waiting: 19, busy: 2, serviceMs: 10 }, 10, 0],
    [
      'a few more than they can clear meanwhile: one is enough',
      { waiting: 23, busy: 2, serviceMs: 10 },
      10,
      1,
    ],
    ['many more: as many as clear them in one more start', { waiting: 45, busy: 2, serviceMs: 10 }, 10, 3],
    ['long events: a new one each', { waiting: 5, busy: 2, serviceMs: 60_000 }, 10, 5],
    [
      'the first waits longer than a start takes, and none went before it: those that run take up nothing',
      { waiting: 15, busy: 2, serviceMs: 10, head: { waitedMs: 101, takenUp: 0 } },
      10,
      2,
    ],
    [
      'it goes slower than is usual, and soon enough',
      { waiting: 5, busy: 2, serviceMs: 1, head: { waitedMs: 200, takenUp: 10 } },
      10,
      0,
    ],
    [
      'it goes slower than is usual, for new ones too',
      { waiting: 25, busy: 2, serviceMs: 1, head: { waitedMs: 200, takenUp: 20 } },
      10,
      3,
    ],
    [
      'many were seen to go much slower than is usual, though a start takes longer than that',
      { waiting: 500, busy: 1, serviceMs: 0.3, startMs: 2_000, head: { waitedMs: 1_000, takenUp: 100 } },
      10,
      2,
    ],
    ['nobody runs: one clears it in no time', { waiting: 500, serviceMs: 0.2 }, 10, 1],
    ['nobody runs, and they are long', { waiting: 5, serviceMs: 60_000 }, 10, 5],
    [
      'short events and many, less than a millisecond each',
      { waiting: 400, busy: 1, serviceMs: 0.25 },
      10,
      0,
    ],
    ['a service time of nothing', { waiting: 5, busy: 1, serviceMs: 0 }, 10, 0],
    [
      'a service time of nothing, and more than any clock would see',
      { waiting: 1_500, busy: 1, serviceMs: 0 },
      10,
      1,
    ],
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

  test('those that are there and those that were started clear what is known to be short within two starts', () => {
    fc.assert(
      fc.property(load, (state) => {
        const { waiting, busy, idle, starting, startMs } = state;
        const serviceMs = Math.max(0.1, state.serviceMs ?? 1);
        fc.pre(serviceMs <= startMs);
        const known = { ...state, serviceMs, head: { waitedMs: 0, takenUp: 0 } };
        const started = instancesToStart(known, Number.POSITIVE_INFINITY);
        const each = startMs / serviceMs;
        const takenUpWith = (more: number): number =>
          Math.floor((busy + idle) * each) + (starting + more) * each;
        expect(takenUpWith(started)).toBeGreaterThan(waiting - 1e-6);
        // And none of those is one too many.
        if (started > 0) expect(takenUpWith(started - 1)).toBeLessThan(waiting + 1e-6);
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
