import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ReplacedFile, writeFileAtomic } from './atomic-file.ts';

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'atomic-file-'));
  path = join(directory, 'file');
});

afterEach(() => rmSync(directory, { recursive: true }));

test.each([false, true])('new content takes the place of the old (durable: %s)', async (durable) => {
  await writeFileAtomic(path, 'old', { durable });
  const { ino } = statSync(path);
  await writeFileAtomic(path, Buffer.from('new'), { durable });
  expect(readFileSync(path, 'utf8')).toBe('new');
  expect(statSync(path).ino).not.toBe(ino);
  expect(readdirSync(directory)).toEqual(['file']);
});

test('the mode holds whatever the umask is', async () => {
  await writeFileAtomic(path, 'secret', { mode: 0o600 });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await writeFileAtomic(path, 'open', { mode: 0o666 });
  expect(statSync(path).mode & 0o777).toBe(0o666);
});

test('a reader never sees a part, with many writers at once', async () => {
  const contents = Array.from({ length: 20 }, (_, index) => String(index).padStart(2).repeat(50_000));
  writeFileSync(path, contents[0] ?? '');
  const writes = Promise.all(contents.map((content) => writeFileAtomic(path, content)));
  let ended = false;
  void writes.finally(() => (ended = true));
  while (!ended) {
    expect(contents).toContain(readFileSync(path, 'utf8'));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await writes;
  expect(readdirSync(directory)).toEqual(['file']);
});

test('a failure leaves what was there, and no temporary file', async () => {
  mkdirSync(path);
  writeFileSync(join(path, 'inner'), 'kept');
  await expect(writeFileAtomic(path, 'x')).rejects.toThrow(expect.objectContaining({ syscall: 'rename' }));
  expect(readdirSync(directory)).toEqual(['file']);
  await expect(writeFileAtomic(join(directory, 'missing', 'file'), 'x')).rejects.toThrow(
    expect.objectContaining({ code: 'ENOENT' }),
  );
});

test('a file that is replaced again and again has the last content, and was written less often', async () => {
  const errors: unknown[] = [];
  const file = new ReplacedFile(path, { mode: 0o600, settleMs: 5, onError: (error) => errors.push(error) });
  const seen = new Set<string>();
  for (let count = 0; count <= 50; count += 1) {
    file.replace(String(count));
    if (existsSync(path)) seen.add(readFileSync(path, 'utf8'));
    if (count % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await expect.poll(() => readFileSync(path, 'utf8')).toBe('50');
  expect(seen.size).toBeLessThan(6);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  file.replace('out of date');
  file.overtaken();
  await file.close();
  file.replace('after its end');
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(readFileSync(path, 'utf8')).toBe('50');
  expect(readdirSync(directory)).toEqual(['file']);
  expect(errors).toEqual([]);
});
