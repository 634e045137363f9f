import { expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { claimFor } from './storage.ts';

const fileSystem = { totalBytes: 500 * mib, freeBytes: 450 * mib, claimedBytes: 0 };

test('the claim is what is left of the file system beside what may be used', () => {
  expect(claimFor(200 * mib, fileSystem)).toBe(300 * mib);
  expect(claimFor(500 * mib, fileSystem)).toBe(0);
  expect(claimFor(900 * mib, fileSystem)).toBe(0);
});

test('what is in use, and what the agent itself needs, is never claimed', () => {
  expect(claimFor(0, fileSystem)).toBe((450 - 16) * mib);
  expect(claimFor(0, { ...fileSystem, freeBytes: 5 * mib })).toBe(0);
});

test('a claim that is there already counts as free', () => {
  expect(claimFor(200 * mib, { ...fileSystem, freeBytes: 150 * mib, claimedBytes: 300 * mib })).toBe(
    300 * mib,
  );
});
