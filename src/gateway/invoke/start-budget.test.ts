// How many starts may be under way.
import { expect, test } from 'vitest';
import { startBudget } from './start-budget.ts';

test.each([
  [{ running: 0, serviceMs: null, startMs: 50 }, 100, 1],
  [{ running: 3, serviceMs: null, startMs: 50 }, 100, 6],
  [{ running: 3, serviceMs: 1, startMs: 50 }, 4, 4],
  [{ running: 0, serviceMs: 500, startMs: 50 }, 100, 100],
])('starts under way: %o, at most %i: %i', (load, cap, expected) => {
  expect(startBudget(load, cap)).toBe(expected);
});
