import { expect, test } from 'vitest';
import { byTurns, percentOf, ratioOf } from './turns.ts';

test('every round has one of each, and every other round begins with the last', async () => {
  const order: string[] = [];
  const turn = (name: string) => [name, async () => order.push(name)] as const;
  const measured = await byTurns(new Map([turn('a'), turn('b'), turn('c')]), 3);
  expect(order.join('')).toBe('abccbaabc');
  expect(measured.get('a')).toEqual([1, 6, 7]);
});

test('what slows both of a round changes no ratio, and one round of five that was disturbed does not show', () => {
  const bare = [100, 50, 10, 100, 80];
  const ours = [90, 45, 9, 10, 72];
  expect(ratioOf(ours, bare)).toEqual({ median: 0.9, from: 0.9, to: 0.9 });
});

test('a ratio is shown with where the middle half of the rounds lies', () => {
  expect(percentOf(ratioOf([1, 2, 3, 4], [4, 4, 4, 4]))).toBe('50.0 % (25.0 % to 75.0 %)');
});
