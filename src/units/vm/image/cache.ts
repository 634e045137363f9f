// A directory of things that are costly to make, each named by the hash of all that it is made from. Owns that a thing is
// there complete and as it was made, or not at all; several makers at once wait for each other.
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { BellowsError, knownSystemError } from '../../../base/errors.ts';
import { tryLockFile, type FileLock } from '../../../sys/file-lock.ts';
import { sha256OfFile } from './packages.ts';

/** Written last: names every file of the thing. */
const manifestName = 'manifest.json';
const manifest = z.object({
  files: z.record(z.string(), z.object({ sha256: z.string(), size: z.number(), mtimeMs: z.number() })),
});
type Manifest = z.infer<typeof manifest>;

/** How often a maker that waits for another looks whether it is done. */
const lockPollMs = 200;
/** Making an image takes a minute on a slow machine, and as long again for its download. */
const lockTimeoutMs = 15 * 60_000;
const dayMs = 24 * 3600_000;
/** What no Bellows was started with for so long is of an earlier version: one that still runs may be as old. */
const keptUnusedMs = 90 * dayMs;

export class Cache {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Undefined when it is not there; when it is damaged, that is told and it is as if not there. */
  async find(hash: string, onDamaged: (file: string) => void): Promise<string | undefined> {
    const directory = join(this.#directory, hash);
    if (!existsSync(directory)) return undefined;
    const damaged = await damagedFile(directory);
    if (damaged === undefined) {
      // When it was last used.
      utimesSync(directory, new Date(), new Date());
      return directory;
    }
    onDamaged(damaged);
    return undefined;
  }

  /** The last used first. */
  names(): string[] {
    if (!existsSync(this.#directory)) return [];
    const usedMs = (name: string): number => statSync(join(this.#directory, name)).mtimeMs;
    return readdirSync(this.#directory).sort((a, b) => usedMs(b) - usedMs(a));
  }

  /** Returns the directory. `make` fills an empty one. Call it locked. */
  async make(hash: string, make: (directory: string) => Promise<void>): Promise<string> {
    const directory = join(this.#directory, hash);
    const temporary = `${directory}.tmp`;
    rmSync(temporary, { recursive: true, force: true });
    makePublic(this.#directory);
    mkdirSync(temporary);
    try {
      await make(temporary);
      chmodSync(temporary, 0o755);
      const files: Manifest['files'] = {};
      for (const name of readdirSync(temporary).sort()) files[name] = await settle(join(temporary, name));
      writeFileSync(join(temporary, manifestName), `${JSON.stringify({ files }, null, 2)}\n`);
      // Damaged ones are replaced: whoever has files of it open keeps them.
      rmSync(directory, { recursive: true, force: true });
      renameSync(temporary, directory);
      return directory;
    } catch (error) {
      rmSync(temporary, { recursive: true, force: true });
      throw knownSystemError(error) === undefined ? error : noRoom(this.#directory, error);
    }
  }

  /** Things that nobody used for long, and what a maker that was killed left. Call it locked. */
  prune(nowMs: number): void {
    for (const name of this.names()) {
      const path = join(this.#directory, name);
      if (name.endsWith('.tmp') || nowMs - statSync(path).mtimeMs > keptUnusedMs)
        rmSync(path, { recursive: true, force: true });
    }
  }
}

/** @throws BellowsError Unavailable when another holds it for too long */
export async function lockCache(directory: string, onWait: () => void): Promise<FileLock> {
  makePublic(directory);
  const path = join(directory, 'lock');
  const deadline = performance.now() + lockTimeoutMs;
  for (let told = false; ; told = true) {
    const lock = tryLockFile(path);
    if (lock !== undefined) return lock;
    if (!told) onWait();
    if (performance.now() > deadline)
      throw new BellowsError(
        'Unavailable',
        `Another process makes an image of virtual machines, and does not come to an end (it holds ${path}).`,
        'End it, and try again.',
      );
    await sleep(lockPollMs);
  }
}

/** Makes a directory that QEMU, which runs as another user, may enter, whatever this process's umask says. */
function makePublic(directory: string): void {
  const first = mkdirSync(directory, { recursive: true });
  if (first === undefined) return;
  for (let made = directory; made.length >= first.length; made = dirname(made)) chmodSync(made, 0o755);
}

/** On the disk, whatever happens to the machine now, and how it is. */
async function settle(path: string): Promise<Manifest['files'][string]> {
  chmodSync(path, 0o644);
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
  const { size, mtimeMs } = statSync(path);
  return { sha256: await sha256OfFile(path), size, mtimeMs };
}

/** Reads a file only when something has changed it since it was made: an image is looked at at every start. */
async function damagedFile(directory: string): Promise<string | undefined> {
  const path = join(directory, manifestName);
  const read = existsSync(path) ? parse(readFileSync(path, 'utf8')) : undefined;
  if (read === undefined) return path;
  for (const [name, { sha256, size, mtimeMs }] of Object.entries(read.files)) {
    const file = join(directory, name);
    const now = statSync(file, { throwIfNoEntry: false });
    const untouched = now?.size === size && now.mtimeMs === mtimeMs;
    if (now === undefined || (!untouched && (await sha256OfFile(file)) !== sha256)) return file;
  }
  return undefined;
}

function parse(text: string): Manifest | undefined {
  try {
    return manifest.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function noRoom(directory: string, cause: unknown): BellowsError {
  return new BellowsError(
    'NoRoom',
    `There is no room in ${directory} to make the image of virtual machines.`,
    'Free about 1 GiB there, or set XDG_CACHE_HOME to where there is room.',
    { cause },
  );
}
