// Large files that are mostly zeros (a guest's memory, a disk), kept as what is in them: packed one after another, with a
// list of where each piece belongs and a checksum over all. Owns packing, unpacking and noticing damage.
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { z } from 'zod';
import { BellowsError } from '../../base/errors.ts';

/** So much is read at once; pieces begin and end at multiples of the grain within. */
const chunkBytes = 1024 * 1024;
/** Finer would find a little more that is zero, and makes the list long. */
const grainBytes = 16 * 1024;
const zeros = Buffer.alloc(grainBytes);

export const packing = z.object({
  /** Of the whole file. */
  bytes: z.number().int().nonnegative(),
  /** Pairs of offset and length, in the order of the packed file. */
  pieces: z.array(z.tuple([z.number().int().nonnegative(), z.number().int().positive()])),
  /** Of the packed file, hexadecimal. */
  sha256: z.string(),
});
export type Packing = z.infer<typeof packing>;

/** Reads all of `source` and writes what is not zero to `path`, a new file. */
export async function pack(
  source: FileHandle | { readonly fd: number },
  bytes: number,
  path: string,
): Promise<Packing> {
  await using input = await open(`/proc/self/fd/${source.fd}`, constants.O_RDONLY);
  await using output = await open(path, 'wx', 0o600);
  const hash = createHash('sha256');
  const pieces: [number, number][] = [];
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (let at = 0; at < bytes; at += chunkBytes) {
    const { bytesRead } = await input.read(chunk, 0, Math.min(chunkBytes, bytes - at), at);
    if (bytesRead === 0) break;
    for (const [from, to] of filledParts(chunk.subarray(0, bytesRead))) {
      const last = pieces.at(-1);
      if (last !== undefined && last[0] + last[1] === at + from) last[1] += to - from;
      else pieces.push([at + from, to - from]);
      await writeAll(output, chunk.subarray(from, to), hash);
    }
  }
  return { bytes, pieces, sha256: hash.digest('hex') };
}

/**
 * Writes the packed file's pieces into `target`, all of whose other bytes are zero.
 * @throws BellowsError Conflict when the packed file is not what was packed, NoRoom when there is no room.
 */
export async function unpack(path: string, layout: Packing, target: { readonly fd: number }): Promise<void> {
  await using input = await open(path, constants.O_RDONLY);
  await using output = await open(`/proc/self/fd/${target.fd}`, constants.O_WRONLY);
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (const [offset, length] of layout.pieces) {
    for (let done = 0; done < length;) {
      const { bytesRead } = await input.read(chunk, 0, Math.min(chunkBytes, length - done), null);
      if (bytesRead === 0) throw damaged(path);
      await writeAll(output, chunk.subarray(0, bytesRead), hash, offset + done);
      done += bytesRead;
    }
  }
  if (hash.digest('hex') !== layout.sha256) throw damaged(path);
}

function damaged(path: string): BellowsError {
  return new BellowsError('Conflict', `The file ${path} is damaged.`, 'It is made anew by itself.');
}

async function writeAll(
  output: FileHandle,
  bytes: Buffer,
  hash: Hash,
  at: number | null = null,
): Promise<void> {
  hash.update(bytes);
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await output.write(
      bytes,
      done,
      bytes.length - done,
      at === null ? null : at + done,
    );
    done += bytesWritten;
  }
}

/** From where to where there is anything but zeros, in whole grains. */
function* filledParts(chunk: Buffer): Generator<readonly [number, number]> {
  let from = -1;
  for (let at = 0; at < chunk.length; at += grainBytes) {
    const grain = chunk.subarray(at, at + grainBytes);
    const empty = grain.equals(grain.length === grainBytes ? zeros : zeros.subarray(0, grain.length));
    if (!empty && from < 0) from = at;
    if (empty && from >= 0) {
      yield [from, at];
      from = -1;
    }
  }
  if (from >= 0) yield [from, chunk.length];
}
