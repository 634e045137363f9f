import { expect, test } from 'vitest';
import type { WorkloadKey } from '../../base/ids.ts';
import { Needs } from './needs.ts';

const hello = 'acme/hello' as WorkloadKey;

test('what one gateway does not need any more another may still wait for', () => {
  const needs = new Needs<string>();
  needs.asks('a', hello, 1);
  needs.asks('b', hello, 1);
  expect(needs.spares('a', hello, 0)).toBe(1);
  expect(needs.spares('b', hello, 0)).toBe(0);
});

test('who was answered waits for no start, and counts for no more than it has asked for', () => {
  const needs = new Needs<string>();
  const answered = needs.asks('b', hello, 9);
  needs.asks('a', hello, 1);
  expect(needs.spares('a', hello, 0)).toBe(1);
  answered();
  expect(needs.spares('a', hello, 0)).toBe(0);
});

test('one gateway alone is taken at its word', () => {
  const needs = new Needs<string>();
  expect(needs.spares('a', hello, 3)).toBe(3);
  needs.asks('a', hello, 5);
  needs.asks('a', hello, 5);
  expect(needs.spares('a', hello, 1)).toBe(1);
});
