// What is on record of the processes when the disk is full.
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readEndpoint, writeEndpoint } from './records.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-records-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** The kernel's device that is always full takes the place of the file that is written first. */
function fillDisk(): void {
  symlinkSync('/dev/full', join(directory, 'endpoint.json.tmp'));
}

test('on a full disk a record is written over the one before it', () => {
  writeEndpoint(directory, { url: 'http://127.0.0.1:8080/a/long/path' });
  fillDisk();
  writeEndpoint(directory, { url: 'http://127.0.0.1:1' });
  expect(readEndpoint(directory)).toEqual({ url: 'http://127.0.0.1:1' });
  expect(readdirSync(directory)).toEqual(['endpoint.json']);
});

test('a first record that finds no room is an error', () => {
  fillDisk();
  expect(() => writeEndpoint(directory, { url: 'http://127.0.0.1:1' })).toThrow(/ENOSPC/);
});
