// Reads a zip from memory into a sink. Trusts neither of a zip's two descriptions of an entry: the whole central
// directory is checked before the first byte is unpacked, and sizes and sums are counted while unpacking.
import { crc32 } from 'node:zlib';
import { fromBufferPromise, getFileNameLowLevel, type Entry, type ZipFile } from 'yauzl';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { quoteName } from './entry-path.ts';
import { maxEntries, maxUnpackedBytes } from './limits.ts';
import { tooLargeUnpacked, type EntrySink } from './staging.ts';
import { Survey } from './survey.ts';

/** A link's target is a path: PATH_MAX. */
const maxLinkTargetBytes = 4_096;
/** Of a local header, without name and extra field (APPNOTE.TXT 4.3.7). */
const localHeaderBytes = 30;

const fileTypeMask = 0o170000;
const fileTypes = { none: 0, directory: 0o040000, file: 0o100000, link: 0o120000 } as const;

type ZipEntry = Entry & { readonly name: string; readonly mode: number };

/** @throws BellowsError InvalidArchive, UnsafeArchive, ArchiveTooLarge */
export async function unpackZip(archive: Buffer, sink: EntrySink): Promise<void> {
  try {
    // Names stay raw here: the library's own check of them has one message for every fault.
    const zip = await fromBufferPromise(archive, { lazyEntries: true, decodeStrings: false });
    const entries = await readDirectory(zip);
    refuseOverlaps(entries);
    await survey(entries);
    for (const entry of entries) await unpackEntry(zip, entry, sink);
  } catch (thrown) {
    if (thrown instanceof BellowsError) throw thrown;
    if (isSystemError(thrown)) throw thrown;
    throw unreadable(messageOf(thrown));
  }
}

/** Ours to solve (a full disk), not the archive's fault. zlib's errors have codes too, but no errno of a system call. */
function isSystemError(thrown: unknown): boolean {
  return thrown instanceof Error && 'syscall' in thrown;
}

function unreadable(why: string): BellowsError {
  return new BellowsError(
    'InvalidArchive',
    `The zip can not be read: ${why}.`,
    'Make it anew, e.g. with zip -r app.zip .',
  );
}

async function readDirectory(zip: ZipFile): Promise<ZipEntry[]> {
  if (zip.entryCount > maxEntries) {
    throw new BellowsError(
      'ArchiveTooLarge',
      `The zip says that it holds ${zip.entryCount} entries; ${maxEntries} are allowed.`,
    );
  }
  const entries: ZipEntry[] = [];
  let announcedBytes = 0;
  for await (const entry of zip.eachEntry()) {
    const name = getFileNameLowLevel(entry.generalPurposeBitFlag, entry.fileNameRaw, entry.extraFields, true);
    if (entry.isEncrypted()) {
      throw new BellowsError(
        'InvalidArchive',
        `The zip's entry ${quoteName(name)} is encrypted.`,
        'Make the zip without a password.',
      );
    }
    if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8) {
      throw new BellowsError(
        'InvalidArchive',
        `The zip's entry ${quoteName(name)} is compressed by method ${entry.compressionMethod}, which is not supported.`,
        'Use "deflate", as every zip tool does unless told otherwise.',
      );
    }
    announcedBytes += entry.uncompressedSize;
    if (announcedBytes > maxUnpackedBytes) throw tooLargeUnpacked();
    entries.push(Object.assign(entry, { name, mode: entry.externalFileAttributes >>> 16 }));
  }
  return entries;
}

/** Entries that share compressed bytes make a bomb of any ratio, and no honest tool writes them. */
function refuseOverlaps(entries: readonly ZipEntry[]): void {
  const byOffset = entries.toSorted((a, b) => a.relativeOffsetOfLocalHeader - b.relativeOffsetOfLocalHeader);
  let endOfLast = 0;
  for (const entry of byOffset) {
    if (entry.relativeOffsetOfLocalHeader < endOfLast) {
      throw new BellowsError(
        'UnsafeArchive',
        `The zip's entry ${quoteName(entry.name)} overlaps another one.`,
        'Make the zip anew.',
      );
    }
    endOfLast =
      entry.relativeOffsetOfLocalHeader + localHeaderBytes + entry.fileNameLength + entry.compressedSize;
  }
}

/** Names imply directories: what they come to is known only when all of them are taken together. */
async function survey(entries: readonly ZipEntry[]): Promise<void> {
  const sink = new Survey();
  for (const entry of entries) {
    if (isDirectory(entry)) await sink.directory(entry.name);
    // What it points to is content.
    else if ((entry.mode & fileTypeMask) === fileTypes.link) await sink.link(entry.name, '');
    else await sink.file(entry.name, false);
  }
}

function isDirectory({ name, mode }: ZipEntry): boolean {
  return name.endsWith('/') || (mode & fileTypeMask) === fileTypes.directory;
}

async function unpackEntry(zip: ZipFile, entry: ZipEntry, sink: EntrySink): Promise<void> {
  const type = entry.mode & fileTypeMask;
  if (isDirectory(entry)) {
    await sink.directory(entry.name);
    return;
  }
  if (type === fileTypes.link) {
    await sink.link(entry.name, await readLinkTarget(zip, entry));
    return;
  }
  if (type !== fileTypes.file && type !== fileTypes.none) {
    throw new BellowsError(
      'UnsafeArchive',
      `The zip's entry ${quoteName(entry.name)} is a device, a socket or a pipe.`,
      'Put only files, directories and links in it.',
    );
  }
  await sink.file(entry.name, (entry.mode & 0o111) !== 0, checkedContent(zip, entry));
}

async function readLinkTarget(zip: ZipFile, entry: ZipEntry): Promise<string> {
  if (entry.uncompressedSize > maxLinkTargetBytes) {
    throw new BellowsError(
      'UnsafeArchive',
      `The zip's link ${quoteName(entry.name)} has a target of ${entry.uncompressedSize} bytes.`,
    );
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of checkedContent(zip, entry)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** The entry's bytes; fails at the end when they are not those that the directory promised. */
async function* checkedContent(zip: ZipFile, entry: ZipEntry): AsyncGenerator<Uint8Array> {
  let sum = 0;
  for await (const chunk of await zip.openReadStreamPromise(entry)) {
    const bytes = chunk as Buffer;
    sum = crc32(bytes, sum);
    yield bytes;
  }
  if (sum !== entry.crc32)
    throw unreadable(`the content of ${quoteName(entry.name)} does not have its checksum`);
}
