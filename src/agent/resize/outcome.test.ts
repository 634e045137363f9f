import fc from 'fast-check';
import { expect, test } from 'vitest';
import { defaultRequest } from '../../model/workload.ts';
import type { BytesPerSecond } from '../../base/quantity.ts';
import { connectionOutcome, fixedChanges } from './outcome.ts';

const counts = { open: 10, closedByClient: 3, closedByServer: 2 };

test('connections that nobody ended are kept', () => {
  expect(connectionOutcome(counts, counts)).toEqual({ open: 10, kept: 10, dropped: 0 });
});

test('what clients ended themselves is not dropped, what the application ended is', () => {
  const after = { open: 6, closedByClient: 5, closedByServer: 4 };
  expect(connectionOutcome(counts, after)).toEqual({ open: 10, kept: 6, dropped: 2 });
});

test('connections that came and went meanwhile never make more than were open, nor less than none', () => {
  fc.assert(
    fc.property(fc.nat(50), fc.nat(100), fc.nat(100), (open, byClient, byServer) => {
      const before = { open, closedByClient: 0, closedByServer: 0 };
      const { kept, dropped } = connectionOutcome(before, {
        open: 0,
        closedByClient: byClient,
        closedByServer: byServer,
      });
      expect(kept).toBeGreaterThanOrEqual(0);
      expect(dropped).toBeGreaterThanOrEqual(0);
      expect(kept + dropped).toBeLessThanOrEqual(open);
    }),
  );
});

test('storage and bandwidth that were asked to change say that they stay', () => {
  expect(fixedChanges(defaultRequest, defaultRequest)).toEqual([]);
  const [change] = fixedChanges(defaultRequest, {
    ...defaultRequest,
    bandwidth: 10_000_000 as BytesPerSecond,
  });
  expect(change).toMatchObject({
    resource: 'bandwidth',
    status: 'infeasible',
    after: 125_000_000,
    wanted: 10_000_000,
  });
});
