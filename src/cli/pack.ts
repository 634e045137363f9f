// A directory as a tar.gz in memory: what `bellows deploy` sends. Owns what goes in: everything but .git, what
// .bellowsignore names, and whatever is no file. The same files give the same bytes, so that nothing is deployed twice.
import { lstat, readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { join, posix, relative, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { pack, type Header, type Pack } from 'tar-stream';
import { humanBytes, mib } from '../base/quantity.ts';
import { exitCode } from './exit-code.ts';
import { CommandError } from './failure.ts';

/** What the API takes: 50 MiB packed, 250 MiB unpacked (docs/guides/deploy-an-app.md). */
const maxPackedBytes = 50 * mib;
const maxUnpackedBytes = 250 * mib;
const ignoreFile = '.bellowsignore';
const alwaysIgnored = ['.git', ignoreFile];

export interface Packed {
  readonly archive: Buffer<ArrayBuffer>;
  readonly files: number;
  readonly unpackedBytes: number;
  /** Paths that were left out since they lead out of the directory or are no files. */
  readonly skipped: readonly string[];
}

/**
 * @param extra a file that the directory lacks, by its name
 * @throws CommandError when it is too large
 */
export async function packDirectory(
  directory: string,
  extra?: { readonly name: string; readonly content: string },
): Promise<Packed> {
  const root = await realpath(directory);
  const ignored = await readIgnored(root);
  const archive = pack();
  const walk = new Walk(root, ignored, archive);
  const chunks: Buffer[] = [];
  const compressed = pipeline(archive, createGzip(), async (source: AsyncIterable<Buffer>) => {
    for await (const chunk of source) chunks.push(chunk);
  });
  try {
    if (extra !== undefined) await walk.add(extra.name, Buffer.from(extra.content));
    await walk.directory(root);
    archive.finalize();
  } catch (thrown) {
    archive.destroy();
    await compressed.catch(() => undefined);
    throw thrown;
  }
  await compressed;
  const bytes = Buffer.concat(chunks);
  if (bytes.length > maxPackedBytes)
    throw tooLarge(`${humanBytes(bytes.length)} packed`, `${humanBytes(maxPackedBytes)} packed`);
  return { archive: bytes, files: walk.files, unpackedBytes: walk.unpackedBytes, skipped: walk.skipped };
}

class Walk {
  files = 0;
  unpackedBytes = 0;
  readonly skipped: string[] = [];
  readonly #root: string;
  readonly #ignored: readonly RegExp[];
  readonly #archive: Pack;

  constructor(root: string, ignored: readonly RegExp[], archive: Pack) {
    this.#root = root;
    this.#ignored = ignored;
    this.#archive = archive;
  }

  async directory(path: string): Promise<void> {
    // Sorted: the order of a directory's entries is the file system's whim.
    const names = (await readdir(path)).sort();
    for (const name of names) {
      const child = join(path, name);
      const inside = relative(this.#root, child).split(sep).join('/');
      if (this.#ignored.some((pattern) => pattern.test(inside))) continue;
      const stats = await lstat(child);
      if (stats.isDirectory()) await this.directory(child);
      else if (stats.isFile()) await this.#file(child, inside, (stats.mode & 0o111) !== 0);
      else if (stats.isSymbolicLink()) await this.#link(child, inside);
      else this.skipped.push(inside);
    }
  }

  async #file(path: string, inside: string, executable: boolean): Promise<void> {
    await this.add(inside, await readFile(path), executable);
  }

  async add(name: string, content: Buffer, executable = false): Promise<void> {
    this.files += 1;
    this.unpackedBytes += content.length;
    if (this.unpackedBytes > maxUnpackedBytes)
      throw tooLarge(`more than ${humanBytes(maxUnpackedBytes)}`, humanBytes(maxUnpackedBytes));
    await this.#entry(
      { name, mode: executable ? 0o755 : 0o644, type: 'file', size: content.length },
      content,
    );
  }

  /** Kept as a link when it stays inside; never followed, so that nothing from outside is sent by accident. */
  async #link(path: string, inside: string): Promise<void> {
    const target = await readlink(path);
    const end = posix.join(posix.dirname(inside), target);
    const real = await realpath(path).catch(() => undefined);
    const staysInside = !target.startsWith('/') && end !== '..' && !end.startsWith('../');
    if (
      staysInside &&
      real?.startsWith(`${this.#root}${sep}`) === true &&
      !this.#ignored.some((pattern) => pattern.test(end))
    )
      await this.#entry({ name: inside, type: 'symlink', linkname: target });
    else this.skipped.push(inside);
  }

  /** No times, no users: the same files are the same archive. */
  #entry(header: Partial<Header> & Pick<Header, 'name'>, content: Buffer = Buffer.alloc(0)): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#archive.entry({ ...header, mtime: new Date(0) }, content, (error) => {
        if (error instanceof Error) reject(error);
        else resolve();
      });
    });
  }
}

async function readIgnored(root: string): Promise<RegExp[]> {
  const text = await readFile(join(root, ignoreFile), 'utf8').catch(() => '');
  const lines = text.split('\n').map((line) => line.trim());
  return [...alwaysIgnored, ...lines.filter((line) => line !== '' && !line.startsWith('#'))].map(toPattern);
}

/**
 * A line of .bellowsignore: a path from the root when it has a slash in it, else a name at any depth; `*` is anything
 * but a slash. Directories go with all that is in them.
 */
export function toPattern(line: string): RegExp {
  const path = line.replace(/^\.?\//, '').replace(/\/+$/, '');
  const body = path.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*+/g, '[^/]*');
  const rooted = line.replace(/\/+$/, '').includes('/');
  return new RegExp(`${rooted ? '^' : '(?:^|/)'}${body}(?:/|$)`);
}

function tooLarge(size: string, most: string): CommandError {
  return new CommandError(
    exitCode.failed,
    `The directory is too large to deploy: ${size}, and at most ${most} are accepted.`,
    `Leave out what it does not need in production: name it in ${ignoreFile}, or npm prune --omit=dev.`,
  );
}
