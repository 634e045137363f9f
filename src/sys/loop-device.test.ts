import { closeSync, existsSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { mib } from '../base/quantity.ts';
import { dataExtents, reserveBlocks } from './file-space.ts';
import { attachLoopDevice } from './loop-device.ts';

function sparseFile(bytes: number): { readonly path: string; readonly fd: number } {
  const directory = mkdtempSync(join(tmpdir(), 'bellows-file-'));
  const path = join(directory, 'file');
  const fd = openSync(path, 'w+');
  ftruncateSync(fd, bytes);
  onTestFinished(() => {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });
  return { path, fd };
}

const canAttach = process.getuid?.() === 0 && existsSync('/dev/loop-control');

test.skipIf(!canAttach)('a device of a file is let go with its last user', async () => {
  const { path, fd } = sparseFile(mib);
  const device = attachLoopDevice(fd);
  const backing = `/sys/block/${basename(device.path)}/loop/backing_file`;
  expect(readFileSync(backing, 'utf8').trim()).toBe(path);
  closeSync(device.fd);
  await expect.poll(() => existsSync(backing) && readFileSync(backing, 'utf8').trim() === path).toBe(false);
});

test('a file that is one hole has no data, one whose blocks are reserved has no more than it is long', () => {
  const { fd } = sparseFile(mib);
  expect(dataExtents(fd, mib)).toEqual([]);
  expect(reserveBlocks(fd, mib)).toBe(true);
  const bytes = dataExtents(fd, mib).reduce((sum, extent) => sum + extent.bytes, 0);
  expect(bytes).toBeLessThanOrEqual(mib);
});
