// The Debian packages that a guest is made of: which versions, and their files, downloaded and never installed.
// Owns asking apt, and the directory with the files. apt itself checks signatures and sums.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { BellowsError, messageOf } from '../../../base/errors.ts';
import { output } from './tools.ts';

/** The kernel for machines without hardware: a third of the size of the usual one. */
const kernelMetaPackage = 'linux-image-cloud-amd64';

/** What the root file system holds, with all that these depend on. */
const rootPackages = [
  // Node's libraries.
  'libc6',
  'libstdc++6',
  'libgcc-s1',
  'libatomic1',
  // Init, and every usual command.
  'busybox-static',
  // Sandboxes; setpriv is in util-linux.
  'bubblewrap',
  'util-linux',
  // Limits of bandwidth: tc.
  'iproute2',
  // File systems of instances' scratch space: mkfs.ext4.
  'e2fsprogs',
  // What people's own programs begin with, as on a host.
  'dash',
  'bash',
  'coreutils',
  'python3',
  'ca-certificates',
  'tzdata',
] as const;

/** They serve installing packages or logging in; nothing in a guest does either. */
const unneeded: ReadonlySet<string> = new Set([
  'adduser',
  'debconf',
  'dpkg',
  'libpam-modules',
  'libpam-modules-bin',
  'libpam-runtime',
  'libsemanage-common',
  'libsemanage2',
  'libsepol2',
  'passwd',
  'perl-base',
  'tar',
]);

export interface Package {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
}

export interface GuestPackages {
  readonly kernel: Package;
  readonly root: readonly Package[];
}

/** Packages that are downloaded by one apt-get: it takes a second to start, and progress is told between them. */
const batchSize = 16;

/** How apt is asked: with the machine's package lists, or with lists of our own. */
type AptOptions = readonly string[];

/** Told what is downloaded, for whom waits. */
export type OnPackage = (done: number, all: number) => void;

/** Owns its directory: packages/ with the files, apt/ with lists of our own where the machine's do not do. */
export class PackageSource {
  readonly #files: string;
  readonly #apt: string;
  #options: AptOptions = [];

  constructor(directory: string) {
    this.#files = join(directory, 'packages');
    this.#apt = join(directory, 'apt');
  }

  /**
   * The newest versions by the machine's package lists; where these do not do (a container often has none), by lists of
   * our own, for which no rights are needed.
   * @throws BellowsError NotSupportedHere without apt, Unavailable when no list can be had
   */
  async resolve(): Promise<GuestPackages> {
    try {
      return await resolve(this.#options);
    } catch (error) {
      if (this.#options.length > 0 || isMissing(error)) throw error;
      await this.#useOwnLists();
      return resolve(this.#options);
    }
  }

  /** Paths of the files, in the packages' order; downloads what is not there or damaged. */
  async fetch(packages: readonly Package[], onPackage: OnPackage): Promise<string[]> {
    mkdirSync(this.#files, { recursive: true });
    const missing: Package[] = [];
    for (const one of packages) if (!(await this.#isThere(one))) missing.push(one);
    for (let start = 0; start < missing.length; start += batchSize) {
      const batch = missing.slice(start, start + batchSize);
      await this.#download(batch);
      onPackage(start + batch.length, missing.length);
    }
    return packages.map((one) => this.#fileOf(one));
  }

  /** Removes files of packages that are not among these: of earlier versions. */
  keepOnly(paths: readonly string[]): void {
    const kept = new Set(paths);
    for (const name of existsSync(this.#files) ? readdirSync(this.#files) : []) {
      const path = join(this.#files, name);
      if (!kept.has(path)) rmSync(path, { recursive: true });
    }
  }

  #fileOf(one: Package): string {
    return join(this.#files, `${one.name}_${one.sha256.slice(0, 16)}.deb`);
  }

  async #isThere(one: Package): Promise<boolean> {
    const path = this.#fileOf(one);
    return existsSync(path) && (await sha256OfFile(path)) === one.sha256;
  }

  async #download(packages: readonly Package[]): Promise<void> {
    const directory = join(this.#files, 'download.tmp');
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    try {
      try {
        await this.#downloadInto(packages, directory);
      } catch (error) {
        // The list is older than what the mirror still has: with a new one the same version may be elsewhere.
        if (this.#options.length > 0 || isMissing(error)) throw error;
        await this.#useOwnLists();
        await this.#downloadInto(packages, directory);
      }
      // Which file is which package's, its sum says.
      const wanted = new Map(packages.map((one) => [one.sha256, one]));
      for (const name of readdirSync(directory)) {
        const file = join(directory, name);
        const sha256 = await sha256OfFile(file);
        const one = wanted.get(sha256);
        if (one === undefined) continue;
        renameSync(file, this.#fileOf(one));
        wanted.delete(sha256);
      }
      for (const { name, version } of wanted.values())
        throw unavailable(`The package ${name} ${version} came with other bytes than its list says.`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  async #downloadInto(packages: readonly Package[], directory: string): Promise<void> {
    // As root apt would change to a user of its own, who may not write here.
    const args = ['-qq', '-o', 'APT::Sandbox::User=root', ...this.#options, 'download'];
    try {
      await output('apt-get', [...args, ...packages.map(({ name, version }) => `${name}=${version}`)], {
        directory,
      });
    } catch (error) {
      throw asUnavailable(error, 'Packages could not be downloaded');
    }
  }

  async #useOwnLists(): Promise<void> {
    for (const name of ['lists/partial', 'archives/partial'])
      mkdirSync(join(this.#apt, name), { recursive: true });
    const options = [
      ['Dir::State::lists', join(this.#apt, 'lists')],
      ['Dir::Cache', this.#apt],
      ['APT::Sandbox::User', 'root'],
    ].flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    try {
      await output('apt-get', ['-qq', ...options, 'update']);
    } catch (error) {
      throw asUnavailable(error, 'The lists of packages could not be downloaded');
    }
    this.#options = options;
  }
}

async function resolve(options: AptOptions): Promise<GuestPackages> {
  const show = async (names: readonly string[]): Promise<string> =>
    (await output('apt-cache', [...options, '--no-all-versions', 'show', ...names])).toString();
  const kernelName = firstDependency(await show([kernelMetaPackage]));
  // As if nothing were installed: all that these depend on comes along, whatever this machine has.
  const simulation = await output('apt-get', [
    '-s',
    ...options,
    ...['-o', 'Dir::State::status=/dev/null', '-o', 'APT::Install-Suggests=0', '--no-install-recommends'],
    'install',
    ...rootPackages,
  ]);
  const wanted = wantedPackages(simulation.toString());
  const found = new Map(parseShown(await show([kernelName, ...wanted])).map((one) => [one.name, one]));
  const need = (name: string): Package => {
    const one = found.get(name);
    if (one === undefined) throw unavailable(`The package ${name} is in no list of packages.`);
    return one;
  };
  return { kernel: need(kernelName), root: wanted.map(need) };
}

/** The names in apt's own words of what it would do, `Inst NAME (VERSION …)`, sorted. */
export function wantedPackages(simulation: string): string[] {
  const lines = simulation.matchAll(/^Inst (\S+) /gm);
  return [...lines]
    .map((line) => (line[1] as string).replace(/:amd64$/, ''))
    .filter((name) => !unneeded.has(name))
    .sort();
}

/** Packages out of `apt-cache show`. */
export function parseShown(text: string): Package[] {
  return text.split(/\n\n+/).flatMap((record) => {
    const field = (name: string): string | undefined => new RegExp(`^${name}: (.+)$`, 'm').exec(record)?.[1];
    const [name, version, sha256] = [field('Package'), field('Version'), field('SHA256')];
    return name === undefined || version === undefined || sha256 === undefined
      ? []
      : [{ name, version, sha256 }];
  });
}

function firstDependency(record: string): string {
  const name = /^Depends: ([^ ,]+)/m.exec(record)?.[1];
  if (name === undefined) throw unavailable(`The package ${kernelMetaPackage} is in no list of packages.`);
  return name;
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}

function isMissing(error: unknown): boolean {
  return error instanceof BellowsError && error.code !== 'Internal';
}

function asUnavailable(error: unknown, what: string): unknown {
  return isMissing(error) ? error : unavailable(`${what}: ${messageOf(error)}`, error);
}

function unavailable(message: string, cause?: unknown): BellowsError {
  return new BellowsError(
    'Unavailable',
    message,
    'Virtual machines are made of Debian packages (Debian 12 or newer, amd64): see that apt-get update works here, or give an image of your own (docs/guides/virtual-machines.md).',
    { cause },
  );
}
