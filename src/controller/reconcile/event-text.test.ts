// What an operator reads in `bellows events` of an app that fails.
import { expect, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import { nextStartText, reasonOf } from './event-text.ts';

test('a reason is one line in words, however much the code wrote', () => {
  const payload = { errorType: 'Error', errorMessage: 'no\nmore', trace: ['at x'] };
  expect(reasonOf(new BellowsError('StartFailed', JSON.stringify(payload)))).toBe('no');
  expect(reasonOf(new BellowsError('NoRoom', 'x'.repeat(500)))).toHaveLength(201);
});

test('an app that fails again and again: when it is started next, and how often it failed', () => {
  expect(nextStartText(null)).toBe('');
  expect(nextStartText({ inMs: 500, failures: 1 })).toBe(' It is started again in 0.5 s.');
  expect(nextStartText({ inMs: 32_000, failures: 7 })).toBe(
    ' It is started again in 32 s, after 7 failures in a row.',
  );
});
