import {
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pack, unpack } from './packed-file.ts';

let directory: string;
const fds: number[] = [];
const opened = (name: string): number => {
  const fd = openSync(join(directory, name), 'w+');
  fds.push(fd);
  return fd;
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-packed-'));
});
afterEach(() => {
  for (const fd of fds.splice(0)) closeSync(fd);
  rmSync(directory, { recursive: true });
});

async function makeSource(): Promise<{ fd: number; bytes: number; packed: string }> {
  const bytes = 5 * 1024 * 1024 + 100;
  const fd = opened('source');
  truncateSync(join(directory, 'source'), bytes);
  writeSync(fd, 'at the beginning', 0);
  writeSync(fd, 'across two chunks', 1024 * 1024 - 5);
  writeSync(fd, Buffer.alloc(100_000, 'x'), 0, 100_000, 3_000_000);
  writeSync(fd, 'the end', bytes - 7);
  return { fd, bytes, packed: join(directory, 'packed') };
}

test('what comes out is what went in, and both files hold no more than what is in them', async () => {
  const { fd, bytes, packed } = await makeSource();
  const layout = await pack({ fd }, bytes, packed);
  expect(statSync(packed).size).toBeLessThan(300_000);
  const target = opened('target');
  truncateSync(join(directory, 'target'), bytes);
  await unpack(packed, JSON.parse(JSON.stringify(layout)), { fd: target });
  expect(readFileSync(join(directory, 'target')).equals(readFileSync(join(directory, 'source')))).toBe(true);
  expect(statSync(join(directory, 'target')).blocks * 512).toBeLessThan(400_000);
});

test.each([
  ['a byte changed', (path: string) => writeFileSync(path, readFileSync(path).fill('y', 50_000, 50_001))],
  ['the end missing', (path: string) => truncateSync(path, 60_000)],
])('a packed file with %s is noticed', async (_, damage) => {
  const { fd, bytes, packed } = await makeSource();
  const layout = await pack({ fd }, bytes, packed);
  damage(packed);
  await expect(unpack(packed, layout, { fd: opened('target') })).rejects.toThrow(
    expect.objectContaining({ code: 'Conflict', message: expect.stringContaining(packed) }),
  );
});
