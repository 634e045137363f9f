import { expect, test } from 'vitest';
import { mib } from '../../base/quantity.ts';
import { burstBytes, limitCommands } from './bandwidth.ts';

test('both directions are limited to the same rate, in bits', () => {
  const commands = limitCommands('eth0', 1_000_000).map((command) => command.join(' '));
  expect(commands.filter((command) => command.includes('rate 8000000bit'))).toHaveLength(2);
  expect(commands.every((command) => command.includes('dev eth0'))).toBe(true);
});

test('a burst is what the rate brings in a moment, but for some packets at least', () => {
  expect(burstBytes(1)).toBe(64 * 1024);
  expect(burstBytes(10_000_000)).toBe(200_000);
  expect(burstBytes(10_000_000_000)).toBe(mib);
});
