// Reads a gzipped tar from memory into a sink. Sizes are counted by the sink; here, what gzip makes of the bytes is bounded.
// It is read twice: a tar has no directory of itself, and what holds too much is to be refused before any of it is written.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { quoteName } from './entry-path.ts';
import { maxEntries, maxUnpackedBytes } from './limits.ts';
import { tooLargeUnpacked, type EntrySink } from './staging.ts';
import { Survey } from './survey.ts';

/** A header, a long name and its padding: what an entry may cost beside its content. */
const overheadPerEntryBytes = 2_048;

/** @throws BellowsError InvalidArchive, UnsafeArchive, ArchiveTooLarge */
export async function unpackTarGz(archive: Buffer, sink: EntrySink): Promise<void> {
  await readTarGz(archive, new Survey());
  await readTarGz(archive, sink);
}

async function readTarGz(archive: Buffer, sink: EntrySink): Promise<void> {
  const tar = extract();
  try {
    // Not awaited first: entries must be taken while bytes are fed.
    const feeding = pipeline(Readable.from([archive]), createGunzip(), boundOutput, tar);
    const reading = readEntries(tar, sink);
    const [fed, read] = await Promise.allSettled([feeding, reading]);
    // The reader's own error says more than "premature close", which it causes in the pipeline.
    if (read.status === 'rejected') throw read.reason;
    if (fed.status === 'rejected') throw fed.reason;
  } catch (thrown) {
    if (thrown instanceof BellowsError) throw thrown;
    if (thrown instanceof Error && 'syscall' in thrown) throw thrown;
    throw new BellowsError(
      'InvalidArchive',
      `The tar.gz can not be read: ${messageOf(thrown)}.`,
      'Make it anew, e.g. with tar -czf ../app.tar.gz .',
    );
  }
}

async function* boundOutput(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let bytesLeft = maxUnpackedBytes + maxEntries * overheadPerEntryBytes;
  for await (const chunk of source) {
    bytesLeft -= chunk.length;
    if (bytesLeft < 0) throw tooLargeUnpacked();
    yield chunk;
  }
}

/** The library's streams yield buffers, which its types do not say. */
async function* contentOf(entry: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  for await (const chunk of entry) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('an entry of a tar is not bytes');
    yield chunk;
  }
}

async function readEntries(tar: ReturnType<typeof extract>, sink: EntrySink): Promise<void> {
  for await (const entry of tar) {
    const { name, type, mode, linkname } = entry.header;
    switch (type) {
      case 'file':
      case 'contiguous-file':
      case null:
      case undefined:
        await sink.file(name, ((mode ?? 0) & 0o111) !== 0, contentOf(entry));
        break;
      case 'directory':
        await sink.directory(name);
        break;
      case 'symlink':
        await sink.link(name, linkname ?? '');
        break;
      case 'link':
        throw refused(name, 'is a hard link', 'Make the archive with tar --hard-dereference.');
      default:
        throw refused(name, `is of the kind "${type}"`, 'Put only files, directories and links in it.');
    }
    entry.resume();
  }
}

function refused(name: string, what: string, hint: string): BellowsError {
  return new BellowsError('UnsafeArchive', `The archive's entry ${quoteName(name)} ${what}.`, hint);
}
