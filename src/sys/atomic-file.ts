/**
 * Owns: replacing a file so that a reader sees the old content or the new, never a part.
 * Does not own: keeping two writers from overwriting each other; the last one wins.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Which no sensible umask narrows. */
const ownerOnly = 0o600;

export interface AtomicWriteOptions {
  /** Permission bits of the new file, whatever the umask is. */
  readonly mode?: number;
  /** Also survive a loss of power, at the price of waiting for the disk. A crash of ours needs none of it. */
  readonly durable?: boolean;
}

export interface ReplacedFileOptions {
  readonly mode: number;
  /** How long a write waits for a later one that makes it needless. */
  readonly settleMs: number;
  readonly onError: (error: unknown) => void;
}

/** A symbolic link at `path` is replaced, not followed. */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  { mode = 0o644, durable = false }: AtomicWriteOptions = {},
): Promise<void> {
  const temporary = temporaryBeside(path);
  // Nobody else may read it before it has its final mode: it may hold a secret.
  const file = await open(temporary, 'wx', ownerOnly);
  try {
    try {
      await file.writeFile(content);
      if (mode !== ownerOnly) await file.chmod(mode);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  if (durable) await syncDirectory(dirname(path));
}

/**
 * The same for a small file that somebody waits for: 0.1 ms on this thread, where five steps on others take 1 to 4 ms of a
 * busy machine. Survives a crash of ours, not a loss of power.
 */
export function writeFileAtomicSync(path: string, content: string, mode = 0o644): void {
  const temporary = temporaryBeside(path);
  try {
    writeFileSync(temporary, content, { flag: 'wx', mode: 0o600 });
    chmodSync(temporary, mode);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/**
 * A file that is replaced again and again, off this thread: replacing one waits for the disk on some file systems (ext4
 * writes the new content out first), up to 20 ms of a busy one. What is overtaken by a later write is never written, and
 * a write waits a moment to be overtaken: handing its steps to threads costs this one half a millisecond.
 */
export class ReplacedFile {
  readonly #path: string;
  readonly #options: ReplacedFileOptions;
  #next: string | undefined;
  #settling: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(path: string, options: ReplacedFileOptions) {
    this.#path = path;
    this.#options = options;
  }

  replace(content: string): void {
    if (this.#closed) return;
    this.#next = content;
    if (this.#writing === undefined) this.#settle();
  }

  /** What waits to be written is out of date: somebody has just written the file another way. */
  overtaken(): void {
    this.#next = undefined;
    clearTimeout(this.#settling);
    this.#settling = undefined;
  }

  /** Writes nothing more; resolves when nothing is being written. */
  async close(): Promise<void> {
    this.#closed = true;
    this.overtaken();
    await this.#writing;
  }

  #settle(): void {
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
        if (this.#next !== undefined) this.#settle();
      });
    }, this.#options.settleMs);
  }

  async #write(): Promise<void> {
    const content = this.#next;
    this.#next = undefined;
    if (content === undefined) return;
    try {
      await writeFileAtomic(this.#path, content, { mode: this.#options.mode });
    } catch (error) {
      this.#options.onError(error);
    }
  }
}

/** In the same directory, for only within a file system is a rename atomic. */
function temporaryBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
}

/** The new name is an entry of the directory, which reaches the disk on its own. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
