import { expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { expectedGain, worthwhileBytes, type Left } from './expected-gain.ts';

const usage = (memory: number, workingSet = memory) => ({
  memoryBytes: memory * mib,
  workingSetBytes: workingSet * mib,
});
const left = (memory: number | null, cache = 0): Left => ({
  memoryBytes: memory === null ? null : memory * mib,
  cacheBytes: cache * mib,
});

test.each([
  ['one that just started and served a call', usage(11.7), undefined, 'nothing'],
  ['one that grew', usage(60), undefined, 'trim'],
  ['one that was trimmed, and stands still since', usage(60), left(60), 'nothing'],
  ['one that was trimmed, and grew since', usage(62), left(60), 'trim'],
  ['a small one that read files', usage(11, 9), undefined, 'cache'],
  ['one whose cache would not go', usage(11, 9), left(null, 2), 'nothing'],
  ['one that grew after its cache was dropped', usage(60), left(null, 2), 'trim'],
  ['one that was trimmed, and read files since', usage(60, 50), left(60), 'cache'],
])('%s', (_, used, before, offers) => {
  const { trimBytes, cacheBytes } = expectedGain(used, before);
  expect([trimBytes >= worthwhileBytes, cacheBytes >= worthwhileBytes]).toEqual([
    offers === 'trim',
    offers === 'cache',
  ]);
});
