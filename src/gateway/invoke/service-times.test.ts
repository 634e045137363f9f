// What is known of how long one takes, and what follows from it.
import { expect, test } from 'vitest';
import { enoughSamples, presentServiceMs, ServiceTimes } from './service-times.ts';

test('what those that run say of how long one takes', () => {
  expect(presentServiceMs(null, [], 50)).toBeNull();
  expect(presentServiceMs(null, [3, 7], 50)).toBe(7);
  expect(presentServiceMs(0.3, [500, 2, 1], 50)).toBe(0.3);
  expect(presentServiceMs(0.3, [60, 500, 70], 50)).toBe(60);
});

test('how many fit into a time follows the average, and nothing is said before enough is known', () => {
  const times = new ServiceTimes();
  for (let n = 1; n < enoughSamples; n += 1) times.add(0);
  expect(times.fitInto(0.5, 32)).toBe(0);
  times.add(0);
  expect(times.fitInto(0.5, 32)).toBe(32);
  for (let n = 0; n < 100; n += 1) times.add(0.1);
  expect(times.fitInto(0.51, 32)).toBe(5);
  times.add(50);
  expect(times.fitInto(0.5, 32)).toBe(0);
});
