import { expect, test } from 'vitest';
import { worstStatus, type ChangeStatus } from './change.ts';

test.each<[ChangeStatus[], ChangeStatus]>([
  [[], 'applied'],
  [['applied', 'applied'], 'applied'],
  [['applied', 'deferred', 'applied'], 'deferred'],
  [['deferred', 'infeasible'], 'infeasible'],
  [['infeasible', 'applied'], 'infeasible'],
])('of %j the worst is %s', (statuses, expected) => {
  expect(worstStatus(statuses)).toBe(expected);
});
