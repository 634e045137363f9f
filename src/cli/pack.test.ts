import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findManifest } from './manifest.ts';
import { packDirectory, toPattern } from './pack.ts';

let place: string;
let root: string;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'bellows-pack-'));
  root = join(place, 'app');
  mkdirSync(root);
});
afterEach(() => rmSync(place, { recursive: true, force: true }));

const put = (path: string, text = 'x'): void => {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), text);
};

async function entriesOf(archive: Buffer): Promise<Record<string, string>> {
  const entries: Record<string, string> = {};
  const reader = Readable.from([gunzipSync(archive)]).pipe(
    extract() as unknown as NodeJS.ReadWriteStream,
  ) as unknown as ReturnType<typeof extract>;
  for await (const entry of reader) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    const { name, type, linkname, mode } = entry.header;
    entries[name] =
      type === 'symlink' ? `-> ${linkname}` : `${mode.toString(8)} ${Buffer.concat(chunks).toString()}`;
  }
  return entries;
}

test('a directory goes in whole, but for .git and what .bellowsignore names', async () => {
  put('index.js', 'code');
  put('lib/a.js');
  put('.git/config');
  put('lib/.git/config');
  put('notes.md');
  put('data/big.bin');
  put('deep/data/kept');
  put('.bellowsignore', '# not needed\n*.md\n/data/\n');
  chmodSync(join(root, 'lib/a.js'), 0o775);
  const { archive, files } = await packDirectory(root);
  expect(await entriesOf(archive)).toEqual({
    'deep/data/kept': '644 x',
    'index.js': '644 code',
    'lib/a.js': '755 x',
  });
  expect(files).toBe(3);
});

test('a link stays a link inside, and is left out and named when it leads out', async () => {
  writeFileSync(join(place, 'secret'), 'secret');
  mkdirSync(join(place, 'app-other'));
  writeFileSync(join(place, 'app-other', 'file'), 'other');
  put('real.js', 'code');
  symlinkSync('real.js', join(root, 'alias.js'));
  symlinkSync('../secret', join(root, 'out'));
  symlinkSync('../app-other', join(root, 'sibling'));
  symlinkSync('/etc/passwd', join(root, 'absolute'));
  symlinkSync(join(root, 'real.js'), join(root, 'absolute-inside'));
  symlinkSync('nowhere', join(root, 'dangling'));
  symlinkSync('hop', join(root, 'hop-out'));
  symlinkSync('../secret', join(root, 'hop'));
  symlinkSync('loop', join(root, 'loop'));
  const { archive, skipped } = await packDirectory(root);
  expect(await entriesOf(archive)).toEqual({ 'real.js': '644 code', 'alias.js': '-> real.js' });
  expect([...skipped].sort()).toEqual([
    'absolute',
    'absolute-inside',
    'dangling',
    'hop',
    'hop-out',
    'loop',
    'out',
    'sibling',
  ]);
  expect(gunzipSync(archive).includes('secret\0')).toBe(false);
});

test('the same files are the same bytes', async () => {
  put('a');
  put('b');
  const first = await packDirectory(root);
  writeFileSync(join(root, 'a'), 'x');
  expect((await packDirectory(root)).archive.equals(first.archive)).toBe(true);
});

const patterns: readonly (readonly [string, string, boolean])[] = [
  ['node_modules', 'a/node_modules/b', true],
  ['node_modules', 'node_modules_not', false],
  ['*.log', 'x/y.log', true],
  ['*.log', 'y.logs', false],
  ['/dist', 'src/dist/x', false],
  ['a/*.js', 'a/b.js', true],
  ['a/*.js', 'a/b/c.js', false],
  ['a+b', 'aab', false],
];
for (const [line, path, expected] of patterns) {
  test(`.bellowsignore: ${line} ${expected ? 'leaves out' : 'keeps'} ${path}`, () => {
    expect(toPattern(line).test(path)).toBe(expected);
  });
}

test('what a directory is: said by bellows.json, or by its files without doubt', async () => {
  await expect(findManifest(root)).rejects.toThrow(/not clear/);
  put('index.mjs', 'export const handler = async () => 1;');
  expect(await findManifest(root)).toMatchObject({
    is: 'inferred',
    manifest: { kind: 'function', handler: 'index.handler' },
  });
  put('package.json', '{"scripts":{"start":"node server.js"}}');
  await expect(findManifest(root)).rejects.toThrow(/not clear/);
  rmSync(join(root, 'index.mjs'));
  expect(await findManifest(root)).toMatchObject({
    is: 'inferred',
    manifest: { kind: 'app', start: 'node server.js' },
  });
  put('bellows.json', '{');
  await expect(findManifest(root)).rejects.toThrow(/not JSON: .*position 1/);
  put('bellows.json', '\n');
  await expect(findManifest(root)).rejects.toThrow(/is empty/);
  put('bellows.json', '{}');
  expect(await findManifest(root)).toEqual({ is: 'manifest' });
});
