import { expect, test } from 'vitest';
import { hostMemory, somePercent } from './host-memory.ts';

test('the share of time in which some task waited for memory is read, and is unknown where the kernel says nothing', () => {
  const text =
    'some avg10=12.40 avg60=3.00 avg300=0.00 total=415010\nfull avg10=7.00 avg60=0.00 avg300=0.00 total=7\n';
  expect(somePercent(text)).toBe(12.4);
  expect(somePercent('')).toBeNull();
});

test('more memory is there than is available, and some is available', () => {
  const { memoryAvailableBytes, memoryTotalBytes } = hostMemory();
  expect(memoryAvailableBytes).toBeGreaterThan(0);
  expect(memoryTotalBytes).toBeGreaterThan(memoryAvailableBytes);
});
