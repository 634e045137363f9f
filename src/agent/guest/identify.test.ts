import { expect, test } from 'vitest';
import type { InstanceId } from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import { claimableBytes, isIdle, reclaimableOf, reserveBytes, type InstanceFigures } from './identify.ts';

const memory = {
  totalBytes: 512 * mib,
  freeBytes: 300 * mib,
  spareBytes: 280 * mib,
  cleanCacheBytes: 20 * mib,
};
const figures = (change: Partial<InstanceFigures>): InstanceFigures => ({
  id: 'i-one' as InstanceId,
  frozen: false,
  cpuShare: 0,
  workingSetBytes: 124 * mib,
  trimmedToBytes: null,
  cacheBytes: 3 * mib,
  ...change,
});
const garbage = (change: Partial<InstanceFigures>): number =>
  reclaimableOf(memory, { freeBytes: 0 }, [figures(change)]).garbageBytes;

test('an instance that runs has no garbage to speak of, and its cache is told all the same', () => {
  const { instances, garbageBytes } = reclaimableOf(memory, { freeBytes: 7 }, [figures({ cpuShare: 0.5 })]);
  expect(instances).toEqual([{ id: 'i-one', idle: false, garbageBytes: 0, cacheBytes: 3 * mib }]);
  expect(garbageBytes).toBe(0);
});

test('who was not measured counts as busy, who stands still as idle', () => {
  expect(isIdle({ frozen: false, cpuShare: null })).toBe(false);
  expect(isIdle({ frozen: true, cpuShare: null })).toBe(true);
});

test('after a trim, what has come since then is garbage; before any, a part of what is there', () => {
  expect(garbage({ trimmedToBytes: 60 * mib })).toBe(64 * mib);
  expect(garbage({ trimmedToBytes: 124 * mib })).toBe(0);
  expect(garbage({})).toBeGreaterThan(0);
  expect(garbage({})).toBeLessThan(124 * mib);
  expect(garbage({ workingSetBytes: 10 * mib })).toBe(0);
});

test('the reserve is never claimable', () => {
  expect(claimableBytes(memory)).toBe(280 * mib - reserveBytes);
  expect(claimableBytes({ ...memory, spareBytes: reserveBytes - 1 })).toBe(0);
});
