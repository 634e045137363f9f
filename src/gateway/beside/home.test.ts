import { expect, test } from 'vitest';
import { newInstanceId } from '../../base/ids.ts';
import { homeOf } from './home.ts';

test('instances are at home with all gateways about equally, and each always with the same', () => {
  const counts = [0, 0, 0];
  for (let index = 0; index < 3_000; index += 1) {
    const id = newInstanceId();
    const home = homeOf(id, 3);
    expect(homeOf(id, 3)).toBe(home);
    counts[home]! += 1;
  }
  // Each has 1000; 8 standard deviations are 207.
  for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(207);
});
