import { expect, test } from 'vitest';
import { isLent } from './usable.ts';

test('nothing is lent while the instances’ limits fit into what is usable', () => {
  expect(isLent(256, [128, 128])).toBe(false);
  expect(isLent(256, [])).toBe(false);
  expect(isLent(null, [null])).toBe(false);
});

test('more promised than there is, or an instance without a limit: somebody in the right may come short', () => {
  expect(isLent(255, [128, 128])).toBe(true);
  expect(isLent(256, [null])).toBe(true);
});
