import { expect, test } from 'vitest';
import { Calm } from './calm.ts';

const tuning = { calmFirstMs: 10, calmLongestMs: 50 };

test('B4: nothing is claimed again until it has been calm for a while', () => {
  const calm = new Calm(tuning);
  expect(calm.quietMs(0)).toBe(0);
  calm.disturbed(100);
  expect(calm.quietMs(109)).toBe(1);
  calm.disturbed(109);
  expect(calm.quietMs(118)).toBe(1);
  expect(calm.quietMs(119)).toBe(0);
});

test('a unit that is short again soon after is left alone for longer each time, to a limit', () => {
  const calm = new Calm(tuning);
  expect(calm.disturbed(0)).toBe(10);
  expect(calm.disturbed(15)).toBe(20);
  expect(calm.disturbed(40)).toBe(40);
  expect(calm.disturbed(90)).toBe(50);
  expect(calm.disturbed(150)).toBe(50);
});

test('what was long ago is forgotten', () => {
  const calm = new Calm(tuning);
  calm.disturbed(0);
  calm.disturbed(15);
  expect(calm.disturbed(1_000)).toBe(10);
});
