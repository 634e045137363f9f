// Which modules of a kernel a guest needs, and the order in which they load. Owns reading that out of the kernel package's
// own files: their index is made only when a package is installed.
import { readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { BellowsError } from '../../../base/errors.ts';
import { output } from './tools.ts';

/** In the order in which they are to load, but for what they depend on, which comes before. Names are as in `lsmod`. */
export const bootModules = [
  'virtio_pci',
  // The root, and the checksums that file systems ask the kernel's crypto for by name: no dependency says so.
  'virtio_blk',
  'crc32c_generic',
  'erofs',
  'ext4',
  // What the host speaks to.
  'virtio_console',
  'virtio_net',
  'virtio_balloon',
  'virtio_rng',
  // Instances' scratch space; nothing asks the kernel for it by a name that it would load.
  'loop',
] as const;

/** Loaded by the kernel itself when first asked for: limits of bandwidth. */
export const onDemandModules = ['sch_tbf', 'sch_ingress', 'cls_matchall', 'cls_u32', 'act_police'] as const;

export interface KernelModule {
  readonly name: string;
  /** Relative to the modules' directory, as it is loaded: `kernel/fs/ext4/ext4.ko`. */
  readonly path: string;
  readonly dependsOn: readonly string[];
  /** By what else the kernel asks for it. */
  readonly aliases: readonly string[];
  readonly content: Uint8Array;
}

export interface FoundModules {
  /** In the order to load them. */
  readonly boot: readonly KernelModule[];
  readonly onDemand: readonly KernelModule[];
}

/**
 * @param directory /lib/modules/VERSION of an unpacked kernel package
 * @throws BellowsError NotSupportedHere when the kernel lacks what a guest can not do without
 */
export async function findModules(directory: string): Promise<FoundModules> {
  const builtIn = new Set(readFileSync(join(directory, 'modules.builtin'), 'utf8').split('\n').map(nameOf));
  const paths = new Map<string, string>();
  for (const file of readdirSync(join(directory, 'kernel'), { recursive: true, encoding: 'utf8' })) {
    if (/\.ko(\.xz|\.zst)?$/.test(file)) paths.set(nameOf(file), join('kernel', file));
  }
  const loaded = new Map<string, KernelModule>();
  const load = async (name: string, neededBy: string): Promise<void> => {
    if (builtIn.has(name) || loaded.has(name)) return;
    const path = paths.get(name);
    if (path === undefined) {
      throw new BellowsError(
        'NotSupportedHere',
        `The kernel in ${directory} has no module ${name}, which ${neededBy} needs.`,
        'Use a Debian cloud kernel, or give an image of your own (docs/guides/virtual-machines.md).',
      );
    }
    const content = await readModule(join(directory, path));
    const dependsOn = modinfo(content, 'depends').flatMap((names) =>
      names.split(',').filter(Boolean).map(nameOf),
    );
    for (const dependency of dependsOn) await load(dependency, name);
    loaded.set(name, {
      name,
      path: path.replace(/\.(xz|zst)$/, ''),
      dependsOn,
      aliases: modinfo(content, 'alias'),
      content,
    });
  };
  for (const name of bootModules) await load(name, 'a guest');
  const boot = [...loaded.values()];
  for (const name of onDemandModules) await load(name, 'a limit of bandwidth');
  return { boot, onDemand: [...loaded.values()].slice(boot.length) };
}

/** `modules.dep` of what is there, by which modprobe finds a module and what comes before it. */
export function modulesIndex(modules: readonly KernelModule[]): string {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const before = (module: KernelModule): KernelModule[] =>
    module.dependsOn.flatMap((name) => {
      const dependency = byName.get(name);
      // Others are loaded at boot.
      return dependency === undefined ? [] : [dependency, ...before(dependency)];
    });
  return modules
    .map(
      (module) =>
        `${module.path}: ${before(module)
          .map((one) => one.path)
          .join(' ')}\n`,
    )
    .join('');
}

/** `modules.alias`, likewise. */
export function aliasIndex(modules: readonly KernelModule[]): string {
  return modules.flatMap(({ name, aliases }) => aliases.map((alias) => `alias ${alias} ${name}\n`)).join('');
}

/** What a module says of itself in its .modinfo section, `depends=virtio,virtio_ring`, each ended by a NUL. */
export function modinfo(content: Uint8Array, key: string): string[] {
  const text = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const mark = `\0${key}=`;
  const values: string[] = [];
  for (let start = text.indexOf(mark); start >= 0; start = text.indexOf(mark, start + 1)) {
    const from = start + mark.length;
    values.push(text.toString('latin1', from, text.indexOf(0, from)));
  }
  return values;
}

/** Files are named with dashes or underscores, modules with underscores. */
function nameOf(file: string): string {
  return basename(file)
    .replace(/\.ko.*$/, '')
    .replaceAll('-', '_');
}

/** Without compression, which the guest's tools may not know. */
async function readModule(path: string): Promise<Uint8Array> {
  if (path.endsWith('.xz')) return output('xz', ['-dc', path]);
  const content = readFileSync(path);
  return path.endsWith('.zst') ? zstdDecompressSync(content) : content;
}
