// Makes a directory and those above it that are missing, and proves that files can be made in it. Owns the words for why
// not. What the directory is for is data-directory.ts's matter.
import { accessSync, constants, mkdirSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { BellowsError, messageOf } from '../base/errors.ts';

/**
 * Makes it with mode 700, or takes the one that is there. What it made is gone again when it could not be used.
 * Not by Node's recursive mkdir: below /proc, where making says "not found" of a directory that is there, it tries for ever.
 * @throws BellowsError Unavailable
 */
export function makeDirectory(path: string): void {
  const made: string[] = [];
  try {
    for (const missing of missingOf(path)) {
      mkdirSync(missing, 0o700);
      made.push(missing);
    }
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    // A kernel's own file system may take directories and no others' files.
    const probe = join(path, `.try-${process.pid}`);
    writeFileSync(probe, '');
    rmSync(probe);
  } catch (thrown) {
    for (const directory of made.toReversed()) rmdirSync(directory);
    throw unusable(path, thrown);
  }
}

/** From the outermost on. @throws when one of them is there and no directory */
function missingOf(path: string): string[] {
  const missing: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    const there = statSync(at, { throwIfNoEntry: false });
    if (there !== undefined && !there.isDirectory())
      throw Object.assign(new Error('not a directory'), { code: 'ENOTDIR' });
    if (there !== undefined) return missing;
    missing.unshift(at);
  }
}

/** @param thrown a system error */
export function unusable(path: string, thrown: unknown): BellowsError {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  const { why, solve } = reasonOf(code) ?? {
    why: messageOf(thrown),
    solve: 'Make it writable for this user',
  };
  return new BellowsError(
    'Unavailable',
    `The data directory ${path} can not be used: ${why}.`,
    `${solve}, or choose another: --data DIR`,
    { cause: thrown },
  );
}

function reasonOf(code: unknown): { why: string; solve: string } | undefined {
  switch (code) {
    case 'ENOTDIR':
    case 'EEXIST':
      return { why: 'it, or a part of its path, is not a directory', solve: 'Name a directory' };
    case 'EROFS':
      return { why: 'it is on a file system that is read-only', solve: 'Mount that writable' };
    case 'EACCES':
    case 'EPERM':
      return { why: 'this user may not write there', solve: 'Make it writable for this user' };
    case 'ENOENT':
      return { why: 'no directory can be made there', solve: 'Name a place on a disk' };
    case 'ENAMETOOLONG':
      return { why: 'a part of its path is too long', solve: 'Shorten it' };
    case 'ELOOP':
      return { why: 'its path goes round in circles by links', solve: 'Name the directory itself' };
    case 'ENOSPC':
    case 'EDQUOT':
      return { why: 'there is no room on its disk', solve: 'Free some' };
    default:
      return undefined;
  }
}
