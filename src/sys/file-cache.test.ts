import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dropFromCache } from './file-cache.ts';

let directory: string;
beforeEach(() => {
  // On a disk: /tmp may be memory itself.
  directory = mkdtempSync('/var/tmp/bellows-cache-');
});
afterEach(() => rmSync(directory, { recursive: true }));

/** By the kernel's word. */
const cachedBytes = (path: string): number =>
  Number(execFileSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', path], { encoding: 'utf8' }));

test('what was just written of a file is memory no more, and is read from the disk again', async () => {
  const path = join(directory, 'file');
  const content = Buffer.alloc(40 * 1024 * 1024, 'content');
  writeFileSync(path, content);
  expect(cachedBytes(path)).toBeGreaterThan(0);
  await dropFromCache(path);
  // Of a busy machine, where another may just look at a page.
  expect(cachedBytes(path)).toBeLessThan(content.length / 100);
  expect(readFileSync(path).equals(content)).toBe(true);
});

test('a file that is not there is an error', async () => {
  await expect(dropFromCache(join(directory, 'none'))).rejects.toThrow(/ENOENT/);
});
