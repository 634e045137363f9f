import fc from 'fast-check';
import { expect, test } from 'vitest';
import { backOffMs, nextPauseMs } from './back-off.ts';

test('pauses double from 20 ms to 2 s', () => {
  const pauses: number[] = [];
  let last: number | null = null;
  for (let i = 0; i < 9; i += 1) pauses.push((last = nextPauseMs(last, 0)));
  expect(pauses).toEqual([20, 40, 80, 160, 320, 640, 1_280, 2_000, 2_000]);
});

test('a process that ran for ten seconds was well: the next pause is the first again', () => {
  expect(nextPauseMs(2_000, backOffMs.forget)).toBe(backOffMs.first);
  expect(nextPauseMs(2_000, backOffMs.forget - 1)).toBe(backOffMs.longest);
});

test('whatever happened, a pause is within its bounds', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20_000)), (runs) => {
      let last: number | null = null;
      for (const ranMs of runs) {
        last = nextPauseMs(last, ranMs);
        expect(last).toBeGreaterThanOrEqual(backOffMs.first);
        expect(last).toBeLessThanOrEqual(backOffMs.longest);
      }
    }),
  );
});
