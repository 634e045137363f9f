import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cpioArchive, type CpioEntry } from './cpio.ts';

const entries: readonly CpioEntry[] = [
  { path: 'b/deep/file', type: 'file', mode: 0o755, content: Buffer.from('hello') },
  { path: 'a', type: 'link', target: 'b/deep/file' },
  { path: 'empty', type: 'directory', mode: 0o700 },
];

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-cpio-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('a cpio archive', () => {
  it('is the same for the same files, in whatever order they come', () => {
    expect(cpioArchive(entries).equals(cpioArchive(entries.toReversed()))).toBe(true);
  });

  it('is unpacked by another program to the same files', (context) => {
    const program = ['cpio', 'busybox'].find((name) => spawnSync(name, ['--help']).error === undefined);
    if (program === undefined) return context.skip('there is neither cpio nor busybox here');
    const args = program === 'busybox' ? ['cpio', '-id'] : ['-id', '--quiet'];
    const { status } = spawnSync(program, args, { cwd: directory, input: cpioArchive(entries) });
    expect(status).toBe(0);
    expect(readFileSync(join(directory, 'b/deep/file'), 'utf8')).toBe('hello');
    expect(statSync(join(directory, 'b/deep/file')).mode & 0o777).toBe(0o755);
    expect(readlinkSync(join(directory, 'a'))).toBe('b/deep/file');
    expect(statSync(join(directory, 'empty')).mode & 0o777).toBe(0o700);
  });

  it('has headers and contents at multiples of four bytes, as the kernel reads it', () => {
    const archive = cpioArchive([{ path: 'x', type: 'file', mode: 0o644, content: Buffer.from('12345') }]);
    const second = archive.indexOf('070701', 1);
    expect(second).toBeGreaterThan(0);
    expect(second % 4).toBe(0);
    expect(archive.length % 4).toBe(0);
  });
});
