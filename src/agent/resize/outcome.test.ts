import fc from 'fast-check';
import { expect, test } from 'vitest';
import { connectionOutcome } from './outcome.ts';

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
