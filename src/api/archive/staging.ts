// Writes an archive's entries below one directory of its own, within the limits. Owns modes, budget and order
// (links last, so that nothing can be written through one). Does not own formats, nor where the directory goes.
import { chmod, mkdir, open, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import { humanBytes } from '../../base/quantity.ts';
import { EntryTree } from './entry-tree.ts';
import { maxUnpackedBytes } from './limits.ts';

/** Whoever reads a format calls these in the archive's order. */
export interface EntrySink {
  directory(name: string): Promise<void>;
  /** Set-user-id, sticky and write bits of the archive are not kept: only whether it is executable. */
  file(name: string, executable: boolean, content: AsyncIterable<Uint8Array>): Promise<void>;
  link(name: string, target: string): Promise<void>;
}

export function tooLargeUnpacked(): BellowsError {
  return new BellowsError(
    'ArchiveTooLarge',
    `The archive unpacks to more than ${humanBytes(maxUnpackedBytes)}.`,
    'Leave development dependencies and data out, or bundle the code.',
  );
}

export class Staging implements EntrySink {
  readonly #directory: string;
  readonly #tree = new EntryTree();
  #bytesLeft = maxUnpackedBytes;

  /** `directory` exists, is empty and belongs to nobody else. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  async directory(name: string): Promise<void> {
    await this.#makeDirectories(this.#tree.claim(name, { kind: 'directory' }).newDirectories);
  }

  async file(name: string, executable: boolean, content: AsyncIterable<Uint8Array>): Promise<void> {
    const claim = this.#tree.claim(name, { kind: 'file' });
    await this.#makeDirectories(claim.newDirectories);
    const file = await open(join(this.#directory, claim.path), 'wx', 0o600);
    try {
      for await (const chunk of content) {
        this.#bytesLeft -= chunk.byteLength;
        if (this.#bytesLeft < 0) throw tooLargeUnpacked();
        await file.writeFile(chunk);
      }
      // Explicitly, for the umask of whoever started Bellows must not hide code from the tenant's user.
      await file.chmod(executable ? 0o755 : 0o644);
    } finally {
      await file.close();
    }
  }

  link(name: string, target: string): Promise<void> {
    const claim = this.#tree.claim(name, { kind: 'link', target });
    return this.#makeDirectories(claim.newDirectories);
  }

  /** Makes the links, now that no file can be written through them. @throws BellowsError UnsafeArchive */
  async finish(): Promise<void> {
    for (const { path, target } of this.#tree.links()) await symlink(target, join(this.#directory, path));
  }

  async #makeDirectories(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const directory = join(this.#directory, path);
      await mkdir(directory);
      await chmod(directory, 0o755);
    }
  }
}
