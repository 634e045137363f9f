// Blobs as files named by their content, in one directory. Owns that directory and everything in it.
// Does not own which blobs are still needed: whoever stores them deletes them.
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BellowsError } from '../base/errors.ts';
import { writeFileAtomic } from '../sys/atomic-file.ts';

const namePattern = /^[0-9a-f]{64}$/;
/** What a crash in the middle of writeFileAtomic leaves behind. */
const temporaryPattern = /^\..*\.tmp$/;

export class BlobDirectory {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** Makes the directory, readable by nobody else, and removes what a crash left half-written. */
  static async open(path: string): Promise<BlobDirectory> {
    await mkdir(path, { recursive: true, mode: 0o700 });
    for (const name of await readdir(path)) {
      if (temporaryPattern.test(name)) await unlinkIfThere(join(path, name));
    }
    return new BlobDirectory(path);
  }

  async put(bytes: Uint8Array): Promise<string> {
    const sha256 = hashOf(bytes);
    const path = join(this.#path, sha256);
    // The rename made it whole, so the name alone tells that the content is there.
    const present = await stat(path).catch(undefinedWhenMissing);
    if (present === undefined) await writeFileAtomic(path, bytes, { mode: 0o600, durable: true });
    return sha256;
  }

  /** @throws BellowsError Internal when the disk no longer holds what was stored. */
  async get(sha256: string): Promise<Buffer | undefined> {
    if (!namePattern.test(sha256)) return undefined;
    const bytes = await readFile(join(this.#path, sha256)).catch(undefinedWhenMissing);
    if (bytes !== undefined && hashOf(bytes) !== sha256) {
      const message = `The blob ${sha256} is damaged: the file's content is not what was stored.`;
      throw new BellowsError('Internal', message, 'Check the disk, then deploy the code again.');
    }
    return bytes;
  }

  async delete(sha256: string): Promise<void> {
    if (namePattern.test(sha256)) await unlinkIfThere(join(this.#path, sha256));
  }

  async list(): Promise<string[]> {
    return (await readdir(this.#path)).filter((name) => namePattern.test(name)).sort();
  }
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function unlinkIfThere(path: string): Promise<void> {
  await unlink(path).catch(undefinedWhenMissing);
}

function undefinedWhenMissing(thrown: unknown): undefined {
  if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return undefined;
  throw thrown;
}
