import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { tryLockFile } from './file-lock.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-lock-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('a lock is held once, and can be had again when it was let go', () => {
  const path = join(directory, 'lock');
  const first = tryLockFile(path);
  expect(first).toBeDefined();
  expect(tryLockFile(path)).toBeUndefined();
  first?.release();
  const second = tryLockFile(path);
  expect(second).toBeDefined();
  second?.release();
});

test('a lock ends with the process that held it, also when it was killed', async () => {
  const path = join(directory, 'lock');
  const script = `
    const { tryLockFile } = await import(${JSON.stringify(new URL('./file-lock.ts', import.meta.url).href)});
    console.log(tryLockFile(${JSON.stringify(path)}) === undefined ? 'refused' : 'held');
    setInterval(() => {}, 1000);`;
  const holder = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [line] = (await once(holder.stdout, 'data')) as [Buffer];
  expect(line.toString().trim()).toBe('held');
  expect(tryLockFile(path)).toBeUndefined();
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  const lock = tryLockFile(path);
  expect(lock).toBeDefined();
  lock?.release();
});
