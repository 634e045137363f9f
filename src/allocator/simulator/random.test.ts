import { expect, test } from 'vitest';
import { SeededRandom } from './random.ts';

const samples = 100_000;
const drawn = (draw: (random: SeededRandom) => number): number[] => {
  const random = new SeededRandom(7);
  return Array.from({ length: samples }, () => draw(random)).sort((a, b) => a - b);
};
const median = (sorted: readonly number[]): number => sorted[samples / 2] ?? Number.NaN;

test('the same seed gives the same numbers, another seed others', () => {
  const first = (seed: number): number[] => {
    const random = new SeededRandom(seed);
    return [random.uniform(), random.uniform(), random.uniform()];
  };
  expect(first(1)).toEqual(first(1));
  expect(first(1)).not.toEqual(first(2));
});

test.each<[string, (random: SeededRandom) => number, number]>([
  ['uniform', (random) => random.between(10, 20), 15],
  ['log-uniform', (random) => random.logUniform(1, 100), 10],
  ['exponential', (random) => random.exponential(10), 10 * Math.LN2],
  ['lognormal', (random) => random.lognormal(-0.38, 2.36), Math.exp(-0.38)],
  ['Burr', (random) => random.burr(11.652, 0.221, 107.083), 107.083 * (2 ** (1 / 0.221) - 1) ** (1 / 11.652)],
])('%s has its median', (_, draw, expected) => {
  expect(median(drawn(draw)) / expected).toBeCloseTo(1, 1);
});
