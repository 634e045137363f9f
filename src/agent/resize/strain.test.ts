import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { isToBeTold, judgeStrain, tellAgainMs, type Strain } from './strain.ts';

const judged = (workingSetMib: number, flags: { isStopped?: boolean; standsStill?: boolean } = {}): Strain =>
  judgeStrain(
    { workingSetBytes: workingSetMib * mib, isStopped: false, standsStill: false, ...flags },
    100 * mib,
  );

test('M-B4: who comes within 16 MiB of its limit is near it, and within 4 MiB stands at it', () => {
  expect([40, 83, 84, 95, 96, 100].map((count) => judged(count))).toEqual([
    'easy',
    'easy',
    'near',
    'near',
    'waiting',
    'waiting',
  ]);
});

test('whom the kernel has stopped waits, whatever it uses; who is frozen needs nothing', () => {
  expect(judged(50, { isStopped: true })).toBe('waiting');
  expect(judged(99, { standsStill: true })).toBe('easy');
});

const strain = fc.constantFrom<Strain>('easy', 'near', 'waiting');
const hardness = { easy: 0, near: 1, waiting: 2 };

test('M-B4: that it becomes worse is told at once, all else at most once a second, and of who is well nothing', () => {
  fc.assert(
    fc.property(strain, strain, fc.integer({ min: 0, max: 5_000 }), (told, seen, sinceMs) => {
      const tells = isToBeTold(told, seen, sinceMs);
      if (hardness[seen] > hardness[told]) expect(tells).toBe(true);
      else if (sinceMs < tellAgainMs) expect(tells).toBe(false);
      else expect(tells).toBe(told !== 'easy' || seen !== 'easy');
    }),
  );
});
