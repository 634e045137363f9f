import { appendFileSync, closeSync, existsSync, openSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { humanLine } from './human-line.ts';
import { LogFile } from './log-file.ts';

let directory: string;
let lines: string[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-log-'));
  lines = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('lines of every writer are seen whole and once, and not those of earlier lives', () => {
  appendFileSync(join(directory, 'bellows.log'), 'old\n');
  const log = new LogFile(directory, (line) => lines.push(line));
  log.write('one');
  appendFileSync(log.path, 'tw');
  log.flush();
  appendFileSync(log.path, 'o ä\nthree\n');
  log.flush();
  log.flush();
  log.close();
  expect(lines).toEqual(['one', 'two ä', 'three']);
});

test('a file that grew too large is kept as .1 and begun anew, by all who write to it', async () => {
  const log = new LogFile(directory, (line) => lines.push(line), { maxFileBytes: 100 });
  log.write('a'.repeat(200));
  for (let i = 0; i < 500 && !existsSync(`${log.path}.1`); i += 1) await pause(10);
  log.write('after');
  log.close();
  expect(readFileSync(`${log.path}.1`, 'utf8')).toBe(`${'a'.repeat(200)}\n`);
  expect(readFileSync(log.path, 'utf8')).toBe('after\n');
  expect(lines).toEqual(['a'.repeat(200), 'after']);
});

const cases: readonly (readonly [string, string, string | undefined])[] = [
  ['an ordinary line', '{"level":30,"process":"agent","msg":"started i-1"}', undefined],
  ['ready', '{"level":30,"process":"agent","msg":"ready"}', 'agent is ready'],
  ['a warning', '{"level":40,"process":"gateway","msg":"slow"}', 'warning: gateway: slow'],
  [
    'an error with its cause',
    '{"level":50,"process":"agent","msg":"no","err":{"message":"EIO"}}',
    'error: agent: no: EIO',
  ],
  ['what is not ours', 'Segmentation fault', 'Segmentation fault'],
  ['JSON that is not ours', '[1]', '[1]'],
  ['nothing', '  ', undefined],
];
for (const [what, line, expected] of cases)
  test(`a person sees of ${what}: ${expected ?? 'nothing'}`, () => expect(humanLine(line)).toBe(expected));

test('on a full disk a line is still shown, and nothing ends for it', () => {
  const log = new LogFile(directory, (line) => lines.push(line));
  // The kernel's device that is always full takes the file's place.
  const full = openSync('/dev/full', 'w');
  const { fd } = log;
  Object.defineProperty(log, 'fd', { value: full, configurable: true });
  log.write('no room');
  Object.defineProperty(log, 'fd', { value: fd });
  closeSync(full);
  log.close();
  expect(lines).toEqual(['no room']);
});
