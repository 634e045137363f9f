import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { ownRanges, pageOut } from './page-out.ts';

describe('moving a process out of memory', () => {
  test('takes what is its own, and joins neighbours: no files, nothing shared, reserved or of the kernel', () => {
    const maps = `00400000-00500000 r-xp 00000000 fe:00 1234                       /usr/bin/node
00500000-00600000 rw-p 00100000 fe:00 1234                       /usr/bin/node
00600000-00700000 rw-p 00000000 00:00 0                          [heap]
00800000-00900000 rw-p 00000000 00:00 0 
00900000-00a00000 r-xp 00000000 00:00 0                          [anon:v8]
00a00000-00b00000 ---p 00000000 00:00 0 
00b00000-00c00000 rw-s 00000000 00:05 77                         /memfd:x (deleted)
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                  [stack]
7ffe00030000-7ffe00034000 r--p 00000000 00:00 0                  [vvar]
`;
    expect(ownRanges(maps)).toEqual([
      { start: 0x600000n, end: 0x700000n },
      { start: 0x800000n, end: 0xa00000n },
      { start: 0x7ffe00000000n, end: 0x7ffe00021000n },
    ]);
  });

  test('does it no harm, and is nothing to one that is gone', async () => {
    const program = `const held = Buffer.alloc(8 << 20, 7);
      process.stdin.on('data', () => console.log(held.every((byte) => byte === 7)));
      console.log('ready');`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const line = async (): Promise<string> => String(await once(child.stdout, 'data')).trim();
      expect(await line()).toBe('ready');
      await pageOut(child.pid!, () => true);
      const answer = line();
      child.stdin.write('?');
      expect(await answer).toBe('true');
    } finally {
      child.kill();
      await once(child, 'exit');
    }
    await pageOut(child.pid!, () => true);
  });
});
