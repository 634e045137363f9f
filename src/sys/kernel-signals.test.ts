import { writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openKernelSignal } from './kernel-signals.ts';

/** What the kernel adds to an eventfd for one signal. */
const one = Buffer.alloc(8);
one.writeBigUInt64LE(1n);

test('each descriptor tells its own listener, again and again, and nothing once it is closed', async () => {
  const told: string[] = [];
  const first = openKernelSignal(() => told.push('first'));
  const second = openKernelSignal(() => told.push('second'));
  writeSync(first.fd, one);
  await expect.poll(() => told).toEqual(['first']);
  writeSync(second.fd, one);
  await expect.poll(() => told).toEqual(['first', 'second']);
  writeSync(first.fd, one);
  await expect.poll(() => told).toEqual(['first', 'second', 'first']);
  first.close();
  // Twice is once: the number may be somebody else's by then.
  first.close();
  writeSync(second.fd, one);
  await expect.poll(() => told).toEqual(['first', 'second', 'first', 'second']);
  second.close();
});

test('more signals at once than are fetched in one go are all told', async () => {
  let told = 0;
  const signals = Array.from({ length: 300 }, () => openKernelSignal(() => (told += 1)));
  for (const { fd } of signals) writeSync(fd, one);
  await expect.poll(() => told).toBe(300);
  for (const { close } of signals) close();
});

test('after the last was closed another can be opened', async () => {
  openKernelSignal(() => undefined).close();
  const { promise, resolve } = Promise.withResolvers<void>();
  const again = openKernelSignal(resolve);
  writeSync(again.fd, one);
  await promise;
  again.close();
});
