import { expect, test } from 'vitest';
import { mib } from '../base/quantity.ts';
import { expectedGainBytes, worthwhileBytes } from './expected-gain.ts';

const usage = (memory: number, workingSet = memory) => ({
  memoryBytes: memory * mib,
  workingSetBytes: workingSet * mib,
});

test.each([
  ['one that just started and served a call', usage(11.7), undefined, false],
  ['one that grew', usage(60), undefined, true],
  ['one that was trimmed, and stands still since', usage(60), 60 * mib, false],
  ['one that was trimmed, and grew since', usage(62), 60 * mib, true],
  ['a small one that read files', usage(11, 9), undefined, true],
])('%s', (_, used, left, worth) => {
  expect(expectedGainBytes(used, left) >= worthwhileBytes).toBe(worth);
});
