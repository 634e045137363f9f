import { expect, test } from 'vitest';
import { MemoryLimit } from './memory-limit.ts';

const mib = 1024 * 1024;

test('M-A3: a changed MemorySize counts from the first invocation that was accepted after it, before the agent’s notice', () => {
  const limit = new MemoryLimit(256 * mib, 256);
  expect(limit.at(256)).toBe(256);
  expect(limit.at(512)).toBe(512);
  limit.granted(512 * mib);
  expect(limit.at(512)).toBe(512);
});

test('M-A3: the notice may come first', () => {
  const limit = new MemoryLimit(256 * mib, 256);
  limit.granted(512 * mib);
  expect(limit.at(512)).toBe(512);
});

test('M-E5: a size given to this instance alone stays while the function’s does not change', () => {
  const limit = new MemoryLimit(256 * mib, 256);
  limit.granted(300.5 * mib);
  expect(limit.at(256)).toBe(300);
  expect(limit.at(256)).toBe(300);
});
