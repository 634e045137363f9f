import fc from 'fast-check';
import { expect, test } from 'vitest';
import { connectionShare } from './bandwidth-share.ts';

test('one connection has all, many have a part each, none has less than 64 KiB/s or all there is', () => {
  expect(connectionShare(10_000_000, 1)).toBe(10_000_000);
  expect(connectionShare(10_000_000, 0)).toBe(10_000_000);
  expect(connectionShare(10_000_000, 4)).toBe(2_500_000);
  expect(connectionShare(10_000_000, 10_000)).toBe(65_536);
  expect(connectionShare(1000, 10)).toBe(1000);
});

test('as long as every share is above the least, they add up to no more than is granted', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1000, max: 1e9 }), fc.integer({ min: 1, max: 5000 }), (limit, open) => {
      const share = connectionShare(limit, open);
      if (share > 65_536 && open > 1) expect(share * open).toBeLessThanOrEqual(limit * 1.000001);
    }),
  );
});
