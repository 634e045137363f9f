import { expect, test } from 'vitest';
import { Episodes, someTotalMicros } from './pressure.ts';

test('an episode is told once, and again after it was quiet', () => {
  const episodes = new Episodes();
  expect([0, 500, 1000, 1500].map((atMs) => episodes.isNews(atMs))).toEqual([true, false, false, false]);
  expect(episodes.isNews(5000)).toBe(true);
  expect(episodes.isNews(5500)).toBe(false);
});

test('one that goes on is told again, for whoever was told may be gone', () => {
  const episodes = new Episodes();
  const told = Array.from({ length: 50 }, (_, index) => index * 500).filter((atMs) => episodes.isNews(atMs));
  expect(told).toEqual([0, 10_000, 20_000]);
});

test('the kernel’s figure is read', () => {
  const text =
    'some avg10=1.20 avg60=0.00 avg300=0.00 total=415010\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n';
  expect(someTotalMicros(text)).toBe(415_010);
});
