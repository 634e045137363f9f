import { expect, test } from 'vitest';
import { processorsOf } from './accelerator.ts';

test.each([
  ['kvm', '7.2.22', 4, 4],
  ['tcg', '8.1.0', 4, 4],
  ['tcg', '7.2.22', 4, 1],
  ['tcg', '7.2.22', 1, 1],
] as const)(
  'with %s and QEMU %s a guest that is to have %d processors is given %d: as many as can work at a time',
  (kind, qemuVersion, wanted, given) => {
    expect(processorsOf(kind, qemuVersion, wanted)).toBe(given);
  },
);
