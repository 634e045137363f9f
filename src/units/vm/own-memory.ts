// What of a clone's memory is its own: the pages that its QEMU has copies of, by the kernel's page map. All others are its
// template's. Owns finding, saving, restoring and copying them; the machine stands still meanwhile.
//
// QEMU's own way reads every page, also those that nobody has ever touched: the kernel would make each of them in the
// template's file, which has holes there, and a unit that is put to rest would cost memory.
import { constants, readFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { z } from 'zod';
import { BellowsError } from '../../base/errors.ts';

/** Of the page map, which counts in these; the processors that QEMU is used on have no others for such files. */
const pageBytes = 4096;
const entryBytes = 8;
/** The last byte of an entry (Documentation/admin-guide/mm/pagemap.rst): in memory, swapped, of a file. */
const pageBits = { present: 0x80, swapped: 0x40, file: 0x20 } as const;
const chunkBytes = 1024 * 1024;

/** Pairs of an offset in the guest's memory and a length, in the order of the saved file. */
export const ownPieces = z.array(z.tuple([z.number().int().nonnegative(), z.number().int().positive()]));
export type OwnPieces = z.infer<typeof ownPieces>;

/** Writes the pages to `path`, a new file. @param fileName what the kernel calls the template's file in the process's maps */
export async function saveOwnMemory(pid: number, fileName: string, path: string): Promise<OwnPieces> {
  await using output = await open(path, 'wx', 0o600);
  const pieces: OwnPieces = [];
  for await (const { at, content } of ownContent(pid, fileName)) {
    await writeAll(output, content, null);
    const last = pieces.at(-1);
    if (last !== undefined && last[0] + last[1] === at) last[1] += content.length;
    else pieces.push([at, content.length]);
  }
  return pieces;
}

/** From one machine into another that maps the same template and has not run. @returns how much it was */
export async function copyOwnMemory(fromPid: number, toPid: number, fileName: string): Promise<number> {
  const { start } = mappingOf(toPid, fileName);
  await using memory = await open(`/proc/${toPid}/mem`, constants.O_WRONLY);
  let bytes = 0;
  for await (const { at, content } of ownContent(fromPid, fileName)) {
    await writeAll(memory, content, start + at);
    bytes += content.length;
  }
  return bytes;
}

/** Into a machine that maps the same template and has not run. */
export async function restoreOwnMemory(
  pid: number,
  fileName: string,
  path: string,
  pieces: OwnPieces,
): Promise<void> {
  const { start } = mappingOf(pid, fileName);
  await using input = await open(path, constants.O_RDONLY);
  await using memory = await open(`/proc/${pid}/mem`, constants.O_WRONLY);
  const chunk = Buffer.allocUnsafe(chunkBytes);
  let read = 0;
  for (const [offset, length] of pieces) {
    for (let done = 0; done < length;) {
      const part = chunk.subarray(0, Math.min(chunkBytes, length - done));
      await readAll(input, part, read);
      await writeAll(memory, part, start + offset + done);
      read += part.length;
      done += part.length;
    }
  }
}

/** Each piece is valid until the next is asked for. */
async function* ownContent(
  pid: number,
  fileName: string,
): AsyncGenerator<{ readonly at: number; readonly content: Buffer }> {
  const { start, bytes } = mappingOf(pid, fileName);
  await using pages = await open(`/proc/${pid}/pagemap`, constants.O_RDONLY);
  await using memory = await open(`/proc/${pid}/mem`, constants.O_RDONLY);
  const entries = Buffer.alloc((chunkBytes / pageBytes) * entryBytes);
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (let at = 0; at < bytes; at += chunkBytes) {
    const length = Math.min(chunkBytes, bytes - at);
    const map = entries.subarray(0, (length / pageBytes) * entryBytes);
    await readAll(pages, map, ((start + at) / pageBytes) * entryBytes);
    for (const [from, to] of ownParts(map)) {
      const content = chunk.subarray(from, to);
      await readAll(memory, content, start + at + from);
      yield { at: at + from, content };
    }
  }
}

/** Where the file begins in the process's memory, and how much of it there is: it is mapped once, perhaps in several parts. */
function mappingOf(pid: number, fileName: string): { readonly start: number; readonly bytes: number } {
  let start: number | undefined;
  let bytes = 0;
  for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
    const [, from = '', to = '', offset = '', name = ''] =
      /^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+\s+(.*)$/.exec(line) ?? [];
    if (!name.startsWith(`/memfd:${fileName} `)) continue;
    start ??= Number.parseInt(from, 16) - Number.parseInt(offset, 16);
    bytes = Number.parseInt(to, 16) - start;
  }
  if (start !== undefined) return { start, bytes };
  throw new BellowsError('Internal', `Process ${pid} does not have the memory ${fileName}.`);
}

/** From where to where there are pages of its own. */
function* ownParts(map: Buffer): Generator<readonly [number, number]> {
  let from = -1;
  for (let page = 0; page * entryBytes < map.length; page += 1) {
    const bits = map.readUInt8(page * entryBytes + entryBytes - 1);
    const isPresent = (bits & pageBits.present) !== 0 && (bits & pageBits.file) === 0;
    const isOwn = isPresent || (bits & pageBits.swapped) !== 0;
    if (isOwn && from < 0) from = page * pageBytes;
    if (!isOwn && from >= 0) {
      yield [from, page * pageBytes];
      from = -1;
    }
  }
  if (from >= 0) yield [from, (map.length / entryBytes) * pageBytes];
}

async function readAll(file: FileHandle, into: Buffer, at: number): Promise<void> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await file.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) throw new BellowsError('Internal', "A machine's memory ended before its end.");
    done += bytesRead;
  }
}

async function writeAll(file: FileHandle, from: Buffer, at: number | null): Promise<void> {
  for (let done = 0; done < from.length;) {
    const { bytesWritten } = await file.write(from, done, from.length - done, at === null ? null : at + done);
    done += bytesWritten;
  }
}
