// Which names an archive's entries may have. Pure; knows nothing of zip or tar.
import { BellowsError } from '../../base/errors.ts';
import { maxPathBytes, maxPathDepth, maxSegmentBytes } from './limits.ts';

/** An archive's name for people: JSON quoting shows control characters, cut since it is the submitter's text. */
export function quoteName(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}…` : name);
}

function unsafe(name: string, why: string, hint: string): BellowsError {
  return new BellowsError('UnsafeArchive', `The archive's entry ${quoteName(name)} ${why}.`, hint);
}

/**
 * Segments of an entry's name, relative to the archive's root; empty for the root itself (`./`).
 * @throws BellowsError UnsafeArchive when it could lead anywhere else, or a file system could not hold it.
 */
export function parseEntryPath(name: string): string[] {
  if (name === '') throw unsafe(name, 'has no name', 'Make the archive anew with zip or tar.');
  if (name.includes('\0')) throw unsafe(name, 'has a NUL in its name', 'Rename the file.');
  if (name.includes('\\')) {
    throw unsafe(
      name,
      'has a backslash in its name',
      'Separate directories with "/", as the zip format demands.',
    );
  }
  if (name.includes('\u{fffd}')) throw unsafe(name, 'has a name that is not UTF-8', 'Rename the file.');
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name)) {
    throw unsafe(
      name,
      'has an absolute path',
      'Make the archive from inside the directory, e.g. tar -czf ../app.tar.gz .',
    );
  }
  const segments = name.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..')) {
    throw unsafe(
      name,
      'leads out of the archive with ".."',
      'Make the archive from inside the directory that you deploy.',
    );
  }
  if (segments.length > maxPathDepth) {
    throw unsafe(
      name,
      `lies more than ${maxPathDepth} directories deep`,
      'Flatten the directories, or bundle the code.',
    );
  }
  if (Buffer.byteLength(name) > maxPathBytes) {
    throw unsafe(
      name,
      `has a path of more than ${maxPathBytes} bytes`,
      'Shorten the names of files and directories.',
    );
  }
  const long = segments.find((segment) => Buffer.byteLength(segment) > maxSegmentBytes);
  if (long !== undefined)
    throw unsafe(name, `has a name of more than ${maxSegmentBytes} bytes`, 'Shorten the name.');
  return segments;
}
