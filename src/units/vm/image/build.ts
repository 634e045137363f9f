// Builds the image that virtual machines are started from, out of packages and Bellows itself, or finds it built already.
// Owns the steps and what an image's hash is made of; how each part is made is in the files beside.
//
//   packages, Node, images/guest/root ─▶ base/OWN-PACKAGES/{kernel, root, kernel.cpio}   half a minute, when one changes
//   base, images/guest/initramfs, agent ─▶ images/HASH/initrd                            at every change of the agent
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../../base/errors.ts';
import { Cache, lockCache } from './cache.ts';
import { defaultCommandLine, defaultOverheadBytes } from './defaults.ts';
import { filesBelow, guestAgentFiles } from './guest-agent.ts';
import { agentPart, kernelPart } from './initramfs.ts';
import { findModules } from './kernel-modules.ts';
import { PackageSource, type GuestPackages } from './packages.ts';
import type { GuestImage } from './port.ts';
import { RecentBase, rememberedSum } from './recent.ts';
import {
  addModules,
  completeRoot,
  linkCommands,
  makeFileSystem,
  settleModes,
  staticFiles,
  unpackPackages,
} from './root-file-system.ts';
import { output } from './tools.ts';

/** Of the way images are made: to be raised when the same inputs shall give another image. */
const recipe = 3;

/** Told while it is built: what is done now, and how much of the whole is done, 0 to 1. */
export interface BuildProgress {
  readonly step: 'waiting' | 'packages' | 'download' | 'unpack' | 'compress' | 'agent';
  readonly text: string;
  readonly fraction: number;
}

export interface BuildOptions {
  /** Default: {@link defaultCacheDirectory}. */
  readonly cacheDirectory?: string;
  readonly onProgress?: (progress: BuildProgress) => void;
}

/** Shared by data directories. Root's is where QEMU may read, which runs as another user: not in root's home. */
export function defaultCacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const own = env['XDG_CACHE_HOME'] || (process.getuid?.() === 0 ? '/var/cache' : join(homedir(), '.cache'));
  return join(own, 'bellows', 'guest');
}

/** @throws BellowsError NotSupportedHere, Unavailable, NoRoom: each with what is missing and how to get it */
export async function buildGuestImage(options: BuildOptions = {}): Promise<GuestImage> {
  const directory = options.cacheDirectory ?? defaultCacheDirectory();
  const tell: Tell = (step, text, fraction) => options.onProgress?.({ step, text, fraction });
  const lock = await lockCache(directory, () =>
    tell('waiting', 'Another process makes the image: waiting for it', 0),
  );
  try {
    return await new Builder(directory, tell).build();
  } finally {
    lock.release();
  }
}

type Tell = (step: BuildProgress['step'], text: string, fraction: number) => void;

interface Base {
  readonly directory: string;
  readonly hash: string;
}

class Builder {
  readonly #directory: string;
  readonly #tell: Tell;
  readonly #bases: Cache;
  readonly #images: Cache;
  readonly #recent: RecentBase;

  constructor(directory: string, tell: Tell) {
    this.#directory = directory;
    this.#tell = tell;
    this.#bases = new Cache(join(directory, 'base'));
    this.#images = new Cache(join(directory, 'images'));
    this.#recent = new RecentBase(directory);
  }

  async build(): Promise<GuestImage> {
    const base = await this.#base();
    this.#tell('agent', 'Bundling the agent', 0.95);
    const initrd = [
      readFileSync(join(base.directory, 'kernel.cpio')),
      agentPart(await guestAgentFiles('bellows')),
    ];
    const hash = hashOf(['image', recipe, base.hash, defaultCommandLine, ...initrd]);
    const image =
      (await this.#images.find(hash, this.#damaged)) ??
      (await this.#images.make(hash, async (directory) => {
        writeFileSync(join(directory, 'initrd'), Buffer.concat(initrd));
      }));
    this.#bases.prune(Date.now());
    this.#images.prune(Date.now());
    this.#tell('agent', 'The image is ready', 1);
    return {
      kernel: join(base.directory, 'kernel'),
      initrd: join(image, 'initrd'),
      root: join(base.directory, 'root'),
      commandLine: defaultCommandLine,
      hash,
      overheadBytes: defaultOverheadBytes,
    };
  }

  readonly #damaged = (file: string): void => this.#tell('packages', `${file} is damaged: making it anew`, 0);

  /** Of the newest packages; without asking apt when that was done a short while ago, or can not be done. */
  async #base(): Promise<Base> {
    // The program itself: what leads to it may be a link.
    const nodeBinary = realpathSync(process.execPath);
    const files = filesBelow(join(staticFiles, 'root'), '').flatMap((file) =>
      file.type === 'file' ? [file.path, file.content] : [],
    );
    const node = await rememberedSum(nodeBinary, join(this.#directory, 'node.json'));
    const own = hashOf(['base', recipe, node, ...files]).slice(0, 16);
    const recent = this.#recent.read(own);
    const found = recent === undefined ? undefined : await this.#findBase(recent);
    if (found !== undefined) return found;
    this.#tell('packages', 'Asking apt for the newest packages', 0.02);
    const source = new PackageSource(this.#directory);
    let packages: GuestPackages;
    try {
      packages = await source.resolve();
    } catch (error) {
      const earlier = await this.#earlierBase(own);
      if (earlier === undefined) throw error;
      this.#tell('packages', `Using packages of an earlier day: ${messageOf(error)}`, 0.5);
      return earlier;
    }
    const hash = `${own}-${hashOf([JSON.stringify(packages)]).slice(0, 16)}`;
    const base = (await this.#findBase(hash)) ?? (await this.#newBase(hash, source, packages, nodeBinary));
    this.#recent.write(own, hash);
    return base;
  }

  async #findBase(hash: string): Promise<Base | undefined> {
    const directory = await this.#bases.find(hash, this.#damaged);
    return directory === undefined ? undefined : { directory, hash };
  }

  async #earlierBase(own: string): Promise<Base | undefined> {
    for (const name of this.#bases.names().filter((one) => one.startsWith(`${own}-`))) {
      const base = await this.#findBase(name);
      if (base !== undefined) return base;
    }
    return undefined;
  }

  async #newBase(
    hash: string,
    source: PackageSource,
    packages: GuestPackages,
    nodeBinary: string,
  ): Promise<Base> {
    const archives = await source.fetch([packages.kernel, ...packages.root], (done, all) =>
      this.#tell('download', `Downloading packages: ${done} of ${all}`, 0.05 + (0.35 * done) / all),
    );
    const make = (made: string): Promise<void> => this.#makeBase(made, archives, packages, nodeBinary);
    const directory = await this.#bases.make(hash, make);
    source.keepOnly(archives);
    return { directory, hash };
  }

  async #makeBase(
    made: string,
    archives: readonly string[],
    packages: GuestPackages,
    nodeBinary: string,
  ): Promise<void> {
    const work = `${made}.work.tmp`;
    rmSync(work, { recursive: true, force: true });
    const root = join(work, 'root');
    const kernel = join(work, 'kernel');
    for (const directory of [root, kernel]) mkdirSync(directory, { recursive: true });
    try {
      this.#tell('unpack', 'Unpacking packages', 0.4);
      const [kernelArchive, ...rootArchives] = archives;
      await output('dpkg-deb', ['-x', kernelArchive as string, kernel]);
      await unpackPackages(rootArchives, root);
      const version = packages.kernel.name.replace(/^linux-image-/, '');
      const modules = await findModules(modulesDirectory(kernel, version));
      copyFileSync(join(kernel, 'boot', `vmlinuz-${version}`), join(made, 'kernel'));
      writeFileSync(
        join(made, 'kernel.cpio'),
        kernelPart(readFileSync(join(root, 'usr/bin/busybox')), modules.boot),
      );
      addModules(root, version, modules.onDemand);
      completeRoot(root, nodeBinary);
      await linkCommands(root);
      settleModes(root);
      this.#tell('compress', 'Compressing the root file system', 0.6);
      await makeFileSystem(root, join(made, 'root'));
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
}

/** Debian 12's kernels have them in /lib, newer ones in /usr/lib. */
function modulesDirectory(kernel: string, version: string): string {
  const old = join(kernel, 'lib/modules', version);
  return existsSync(old) ? old : join(kernel, 'usr/lib/modules', version);
}

/** Each part with its length, so that no two lists of parts are alike. */
function hashOf(parts: readonly (string | number | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    const bytes = part instanceof Uint8Array ? part : Buffer.from(String(part));
    hash.update(`${bytes.byteLength}:`).update(bytes);
  }
  return hash.digest('hex').slice(0, 32);
}
