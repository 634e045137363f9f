import { expect, test } from 'vitest';
import { patienceFor } from './patience.ts';

test('an emulated processor is given more time, and no other', () => {
  const cpuinfo = (model: string): string => `processor\t: 0\nmodel name\t: ${model}\nstepping\t: 0\n`;
  expect(patienceFor(cpuinfo('QEMU TCG CPU version 2.5+'))).toBeGreaterThan(1);
  expect(patienceFor(cpuinfo('Intel(R) Xeon(R) Processor'))).toBe(1);
  expect(patienceFor('')).toBe(1);
});
