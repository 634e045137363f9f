import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Cache } from './cache.ts';

let directory: string;
let cache: Cache;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-cache-'));
  cache = new Cache(directory);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const fill =
  (content: string) =>
  async (made: string): Promise<void> =>
    writeFileSync(join(made, 'file'), content);
const unexpected = (file: string): never => {
  throw new Error(`${file} should not be damaged`);
};

describe('the cache of images', () => {
  it('has nothing until it is made, and then the same', async () => {
    expect(await cache.find('x', unexpected)).toBeUndefined();
    const made = await cache.make('x', fill('one'));
    expect(await cache.find('x', unexpected)).toBe(made);
    expect(readFileSync(join(made, 'file'), 'utf8')).toBe('one');
  });

  it('has nothing when the making failed half way', async () => {
    const failing = cache.make('x', async (made) => {
      writeFileSync(join(made, 'file'), 'half');
      throw new Error('no power');
    });
    await expect(failing).rejects.toThrow('no power');
    expect(readdirSync(directory)).toEqual([]);
  });

  it('notices a changed, a cut and a missing file, and can make it anew', async () => {
    const damage: readonly ((file: string) => void)[] = [
      (file) => {
        writeFileSync(file, 'two');
        // Times are kept in steps of some milliseconds.
        utimesSync(file, 1, 1);
      },
      (file) => writeFileSync(file, ''),
      (file) => rmSync(file),
      (file) => writeFileSync(join(file, '../manifest.json'), '{"files":'),
    ];
    for (const harm of damage) {
      const made = await cache.make('x', fill('one'));
      harm(join(made, 'file'));
      const told: string[] = [];
      expect(await cache.find('x', (file) => told.push(file))).toBeUndefined();
      expect(told).toHaveLength(1);
      await cache.make('x', fill('one'));
      expect(await cache.find('x', unexpected)).toBe(made);
    }
  });

  it('takes a file that was touched and is the same as it was', async () => {
    const made = await cache.make('x', fill('one'));
    utimesSync(join(made, 'file'), 1, 1);
    expect(await cache.find('x', unexpected)).toBe(made);
  });

  it('says that the disk is full, and where', async () => {
    const full = Object.assign(new Error('write'), { code: 'ENOSPC' });
    await expect(cache.make('x', () => Promise.reject(full))).rejects.toMatchObject({
      code: 'NoRoom',
      message: expect.stringContaining(directory),
    });
  });

  it('drops what was not used for long and what a killed maker left, and keeps the rest', async () => {
    await cache.make('used', fill('one'));
    await cache.make('old', fill('one'));
    utimesSync(join(directory, 'old'), 1, 1);
    mkdirSync(join(directory, 'half.tmp'));
    cache.prune(Date.now());
    expect(readdirSync(directory)).toEqual(['used']);
  });
});
