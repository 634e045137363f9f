import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultCommandLine } from './defaults.ts';
import { ownImage } from './own-image.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bellows-own-image-'));
  for (const name of ['kernel', 'initrd', 'root']) writeFileSync(join(directory, name), name);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("an image of the operator's own", () => {
  it('is three files, started like the built one', async () => {
    expect(await ownImage(directory)).toMatchObject({
      kernel: join(directory, 'kernel'),
      initrd: join(directory, 'initrd'),
      root: join(directory, 'root'),
      commandLine: defaultCommandLine,
    });
  });

  it('is another image when one of its files or settings is another', async () => {
    const before = await ownImage(directory);
    writeFileSync(join(directory, 'root'), 'other');
    const changed = await ownImage(directory);
    writeFileSync(join(directory, 'image.json'), '{"commandLine":"quiet","overheadBytes":1000}');
    const set = await ownImage(directory);
    expect(set).toMatchObject({ commandLine: 'quiet', overheadBytes: 1000 });
    expect(new Set([before.hash, changed.hash, set.hash]).size).toBe(3);
  });

  it('is refused with the name of the file that is missing, or of the setting that is wrong', async () => {
    writeFileSync(join(directory, 'image.json'), '{"overheadBytes":"much"}');
    await expect(ownImage(directory)).rejects.toMatchObject({
      code: 'BadRequest',
      message: expect.stringContaining('overheadBytes'),
    });
    rmSync(join(directory, 'root'));
    await expect(ownImage(directory)).rejects.toMatchObject({
      code: 'BadRequest',
      message: expect.stringContaining('no file root'),
    });
  });
});
