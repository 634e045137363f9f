import { expect, test } from 'vitest';
import { gatewayCount } from './gateway-count.ts';

test('one gateway serves a small machine, several one with many processors, and never more than eight', () => {
  expect([1, 2, 4, 7, 8, 15, 16, 32, 64, 256].map(gatewayCount)).toEqual([1, 1, 1, 1, 2, 3, 4, 8, 8, 8]);
});
