import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkRoom, prepareDataDirectory } from './data-directory.ts';
import { unusable } from './make-directory.ts';

const module = fileURLToPath(new URL('data-directory.ts', import.meta.url));
/** The overflow user, which owns nothing. */
const nobody = 65_534;
let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'data-directory-'));
  chmodSync(root, 0o755);
  writeFileSync(join(root, 'file'), '');
  mkdirSync(join(root, 'private'), { mode: 0o500 });
  mkdirSync(join(root, 'open'));
  chmodSync(join(root, 'open'), 0o777);
  symlinkSync('circle', join(root, 'circle'));
});
afterAll(() => rmSync(root, { recursive: true }));

/** What is said, in a process of its own: one that spins is ended. @param first run there before, once all is loaded */
function refusalOf(path: string, first = ''): string {
  const code = `import(${JSON.stringify(module)}).then((m) => { ${first}; m.prepareDataDirectory(${JSON.stringify(path)}); })
    .catch((error) => console.log(error.code, error.message, error.hint))`;
  const { stdout, error } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '-e', code],
    { encoding: 'utf8', timeout: 20_000 },
  );
  if (error !== undefined) throw error;
  return stdout.trim();
}

/** Root may write anywhere, so it becomes somebody else. */
const asUser = process.getuid?.() === 0 ? `process.setuid(${nobody})` : '';

describe('a data directory that can not be used is refused at once, with what to do', () => {
  test.each<[string, () => string, RegExp]>([
    ['one in /proc', () => '/proc/x', /^Unavailable .*no directory can be made there/],
    ['one deep in /proc', () => '/proc/self/x/y/z', /^Unavailable .*can be made there/],
    ['a file', () => join(root, 'file'), /^Unavailable .*not a directory.*Name a directory/],
    ['one below a file', () => join(root, 'file/x/y'), /^Unavailable .*not a directory/],
    ['links in a circle', () => join(root, 'circle/x'), /^Unavailable .*round in circles/],
    ['a name that is too long', () => `/${'x'.repeat(300)}`, /^BadRequest .*bytes too long/],
    ['a path too long for sockets', () => join(root, 'y'.repeat(90)), /^BadRequest .*have 107 at most/],
  ])('%s', (_, path, said) => {
    expect(refusalOf(path())).toMatch(said);
  });

  test.each(['private', 'private/x'])('one that this user may not write to: %s', (path) => {
    expect(refusalOf(join(root, path), asUser)).toMatch(/^Unavailable .*may not write there/);
  });

  test.each([
    ['EROFS', /read-only/],
    ['ENOSPC', /no room/],
  ])('by the words for %s', (code, said) => {
    expect(unusable('/x', Object.assign(new Error('x'), { code })).message).toMatch(said);
  });
});

test('a disk without room is told, and one that is not there yet is not asked', () => {
  // What is in /proc takes nothing of a disk, and there is none.
  expect(() => checkRoom('/proc')).toThrow(expect.objectContaining({ code: 'NoRoom' }));
  expect(() => checkRoom(join(root, 'not-there'))).not.toThrow();
});

test('directories above it are made', () => {
  expect(prepareDataDirectory(join(root, 'a/b/c')).root).toBe(join(root, 'a/b/c'));
});

test('what was made for one that can not be used is gone again', () => {
  // With this mask nobody may make anything in what is made.
  const said = refusalOf(join(root, 'open/a/b'), `${asUser}; process.umask(0o700)`);
  expect(said).toMatch(/^Unavailable /);
  expect(existsSync(join(root, 'open/a'))).toBe(false);
});
