import { appendFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { LogFile } from './log-file.ts';

function newPath(): string {
  const directory = mkdtempSync(join(tmpdir(), 'log-file-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return join(directory, 'acme', 'name.log');
}

const entry = (line: string) => ({ timeMs: 1, instance: 'i-1', line });
const linesOf = (page: { entries: readonly { line: string }[] }): string[] =>
  page.entries.map(({ line }) => line);

test('lines are read back in order from where a reader stopped', async () => {
  const log = new LogFile(newPath());
  for (const line of ['one', 'two', 'three']) log.append([entry(line)]);
  const first = await log.read(0, 2);
  expect(linesOf(first)).toEqual(['one', 'two']);
  log.append([entry('four')]);
  const second = await log.read(first.position, 10);
  expect(linesOf(second)).toEqual(['three', 'four']);
  expect(await log.read(second.position, 10)).toEqual({ entries: [], position: second.position });
});

test('a reader crosses a turn of the file without missing or repeating a line', async () => {
  const log = new LogFile(newPath(), 200);
  const written = Array.from({ length: 50 }, (_, count) => `line ${count}`);
  const read: string[] = [];
  let position = 0;
  for (const line of written) {
    log.append([entry(line)]);
    // One line behind at times, so that reads begin in the older file.
    if (written.indexOf(line) % 2 === 0) continue;
    const page = await log.read(position, 2);
    read.push(...linesOf(page));
    position = page.position;
  }
  expect(read).toEqual(written);
});

test('a reader that fell too far behind goes on with the oldest line there is', async () => {
  const log = new LogFile(newPath(), 200);
  for (let count = 0; count < 50; count += 1) log.append([entry(`line ${count}`)]);
  const read = linesOf(await log.read(0, 1000));
  expect(read.length).toBeLessThan(20);
  expect(read).toEqual(Array.from({ length: read.length }, (_, index) => `line ${50 - read.length + index}`));
});

test('the last lines are found, also when they lie in both files', async () => {
  const log = new LogFile(newPath(), 100);
  for (let count = 0; count < 4; count += 1) log.append([entry(`line ${count}`)]);
  expect(linesOf(await log.readLast(3))).toEqual(['line 1', 'line 2', 'line 3']);
  expect(await log.read((await log.readLast(3)).position, 10)).toMatchObject({ entries: [] });
});

test('a log goes on where an earlier agent stopped, even in the middle of a line', async () => {
  const path = newPath();
  const first = new LogFile(path, 100);
  for (let count = 0; count < 5; count += 1) first.append([entry(`line ${count}`)]);
  const { position } = await first.readLast(1);
  appendFileSync(path, '{"t":1,"i":"i-1","l":"cut');
  const second = new LogFile(path, 100);
  second.append([entry('after')]);
  expect(linesOf(await second.read(position, 10))).toEqual(['after']);
});

test('a file that is not ours is begun anew', async () => {
  const path = newPath();
  new LogFile(path);
  writeFileSync(path, 'something else\n');
  const log = new LogFile(path);
  log.append([entry('mine')]);
  expect(linesOf(await log.readLast(5))).toEqual(['mine']);
});

test('a removed log is gone, and an old cursor reads the new one from its beginning', async () => {
  const path = newPath();
  const log = new LogFile(path, 100);
  for (let count = 0; count < 5; count += 1) log.append([entry(`line ${count}`)]);
  const { position } = await log.readLast(1);
  await log.remove();
  expect([existsSync(path), existsSync(`${path}.1`)]).toEqual([false, false]);
  const next = new LogFile(path, 100);
  next.append([entry('new')]);
  expect(linesOf(await next.read(position, 10))).toEqual(['new']);
});

test('entries that come together are one write, and are read back in order', async () => {
  const log = new LogFile(newPath());
  log.append(['one', 'two ✓', 'three'].map(entry));
  log.append([entry('four')]);
  const first = await log.read(0, 2);
  expect(linesOf(first)).toEqual(['one', 'two ✓']);
  expect(linesOf(await log.read(first.position, 10))).toEqual(['three', 'four']);
});
