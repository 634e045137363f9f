import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeFifo } from '../../sys/descriptors.ts';
import { LogPipe } from './log-pipe.ts';

/** A pipe with its writer's end, and the lines that came out, in the batches they came in. */
function pipe(): { log: LogPipe; writer: number; batches: string[][] } {
  const directory = mkdtempSync(join(tmpdir(), 'log-pipe-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'fifo');
  makeFifo(path, 0o600);
  const batches: string[][] = [];
  const log = new LogPipe(path, (lines) => batches.push([...lines]));
  return { log, writer: openSync(path, 'w'), batches };
}

test('lines that wait in the pipe come together and in order, however many there are', async () => {
  const { log, writer, batches } = pipe();
  const lines = Array.from({ length: 5_000 }, (_, index) => `line ${index}`);
  for (const line of lines) writeSync(writer, `${line}\n`);
  log.start();
  closeSync(writer);
  await log.drain();
  expect(batches.flat()).toEqual(lines);
  // The pipe holds 64 KiB, which Node reads at once.
  expect(batches.length).toBeLessThan(10);
});

test('what comes without a line break at its end is passed on when the pipe is drained', async () => {
  const { log, writer, batches } = pipe();
  writeSync(writer, 'one\ntwo');
  log.start();
  closeSync(writer);
  await log.drain();
  expect(batches).toEqual([['one'], ['two']]);
});
