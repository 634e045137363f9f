import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { makeMemoryFile, sealMemoryFile } from './memory-file.ts';

let fd: number;
afterEach(() => closeSync(fd));

test('a sealed memory file can be read, and written or resized by nobody', () => {
  fd = makeMemoryFile('test');
  writeSync(fd, 'content');
  sealMemoryFile(fd);
  // As another process would that was given it, with rights of its own.
  const again = openSync(`/proc/self/fd/${fd}`, 'r+');
  try {
    for (const each of [fd, again]) {
      expect(() => writeSync(each, 'other', 0)).toThrow(expect.objectContaining({ code: 'EPERM' }));
      expect(() => ftruncateSync(each, 3)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    }
    const buffer = Buffer.alloc(7);
    readSync(again, buffer, 0, 7, 0);
    expect(buffer.toString()).toBe('content');
  } finally {
    closeSync(again);
  }
});
