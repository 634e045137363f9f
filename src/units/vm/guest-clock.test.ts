import { expect, test } from 'vitest';
import { clockShift, keepClock } from './guest-clock.ts';

test('a clock that may be right is left alone', () => {
  expect(clockShift({ sentMs: 1000, guestMs: 1000, receivedMs: 1000 })).toBe(0);
  expect(clockShift({ sentMs: 1000, guestMs: 2500, receivedMs: 4000 })).toBe(0);
});

test('a clock that is surely off is moved into the middle of what it may be', () => {
  expect(clockShift({ sentMs: 5000, guestMs: 3000, receivedMs: 5020 })).toBe(2010);
  expect(clockShift({ sentMs: 5000, guestMs: 7000, receivedMs: 5020 })).toBe(-1990);
});

test('an answer or an order that is seconds under way does not put the clock off', async () => {
  const guestBehindMs = 2000;
  let shiftedMs = 0;
  const waits = [60, 40, 0];
  const late = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, waits.shift() ?? 40));
  const call = async (name: string, { byMs }: { byMs?: number }): Promise<unknown> => {
    await late();
    if (name === 'shiftClock') shiftedMs += byMs ?? 0;
    return { nowMs: Date.now() - guestBehindMs + shiftedMs };
  };
  await keepClock({ call: call as never }, { timeoutMs: 1000 });
  // The quickest of three was told at once: what is left is what that one took.
  expect(Math.abs(shiftedMs - guestBehindMs)).toBeLessThan(30);
});
