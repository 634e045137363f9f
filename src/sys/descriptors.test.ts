import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeFifo, setPipeSize } from './descriptors.ts';

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'descriptors-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

test('a named pipe is made, once', () => {
  const path = join(directory(), 'fifo');
  makeFifo(path, 0o600);
  expect(statSync(path).isFIFO()).toBe(true);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(() => makeFifo(path, 0o600)).toThrow(expect.objectContaining({ code: 'EEXIST', syscall: 'mkfifo' }));
});

test('a pipe is given the size that was asked for, and a file is not', () => {
  const path = join(directory(), 'fifo');
  makeFifo(path, 0o600);
  const fd = openSync(path, constants.O_RDWR);
  expect(setPipeSize(fd, 256 * 1024)).toBe(256 * 1024);
  closeSync(fd);
  const file = openSync('/dev/null', 'r');
  expect(setPipeSize(file, 4096)).toBeUndefined();
  closeSync(file);
});

test('what a starter left open does not reach the programs that are started', () => {
  const program = `
    import { spawnSync } from 'node:child_process';
    const { keepDescriptorsFromChildren } = await import(${JSON.stringify(new URL('./descriptors.ts', import.meta.url).href)});
    const list = () => spawnSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' }).stdout.includes('/etc/hostname');
    const before = list();
    keepDescriptorsFromChildren();
    console.log(JSON.stringify([before, list()]));`;
  const file = openSync('/etc/hostname', 'r');
  onTestFinished(() => closeSync(file));
  // Node itself marks what it inherits only up to the first gap above 15.
  const stdio = [...Array.from({ length: 40 }, (_, fd) => (fd === 1 || fd === 2 ? 'pipe' : 'ignore')), file];
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program];
  const run = spawnSync(process.execPath, args, { encoding: 'utf8', stdio });
  expect(run.stderr).toBe('');
  expect(JSON.parse(run.stdout)).toEqual([true, false]);
});
