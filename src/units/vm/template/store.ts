// Templates on disk: templates/KEY/{template.json, memory, state, scratch}. Owns which there are, whether they are whole,
// and taking away what no longer fits. Making one is build.ts.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Resources } from '../../../model/resources.ts';
import { packing } from '../packed-file.ts';

const manifest = z.object({
  version: z.literal(1),
  /** What is no use any more with another image, QEMU, accelerator or (with KVM) processor. */
  madeWith: z.object({ imageHash: z.string(), accelerator: z.string(), qemuVersion: z.string() }),
  memory: packing,
  scratch: packing,
  /** Of the devices' state, hexadecimal. */
  stateSha256: z.string(),
});
type Manifest = z.infer<typeof manifest>;
export type MadeWith = Manifest['madeWith'];

/** Everything that a clone must have in common with its template. */
export interface TemplateTraits extends MadeWith {
  readonly network: 'tap' | 'user';
  readonly scratch: 'device' | 'file';
  readonly ramBytes: number;
  readonly cpus: number;
  readonly storageBytes: number;
}

export const templateTraits = (
  size: Resources,
  common: Omit<TemplateTraits, 'ramBytes' | 'storageBytes'>,
  overheadBytes: number,
): TemplateTraits => ({
  ...common,
  ramBytes: ramBytesFor(size, overheadBytes),
  storageBytes: size.storage,
});

/** A guest's memory comes in whole blocks of 2 MiB, the size of the processor's large pages. */
const ramGrain = 2 * 1024 * 1024;
export const ramBytesFor = (size: Resources, overheadBytes: number): number =>
  Math.ceil((size.memory + overheadBytes) / ramGrain) * ramGrain;

/** Raised when templates of an earlier Bellows can not be used: its devices, or the order of them, are others. */
const recipe = 3;

export function templateKey(traits: TemplateTraits): string {
  return createHash('sha256')
    .update(
      JSON.stringify([
        recipe,
        traits.imageHash,
        traits.accelerator,
        traits.qemuVersion,
        traits.network,
        traits.scratch,
        traits.ramBytes,
        traits.cpus,
        traits.storageBytes,
      ]),
    )
    .digest('hex')
    .slice(0, 16);
}

export interface StoredTemplate extends Manifest {
  readonly key: string;
  /** Paths of the packed memory, of the devices' state, and of the packed scratch disk. */
  readonly memoryFile: string;
  readonly stateFile: string;
  readonly scratchFile: string;
}

export class TemplateStore {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Undefined when there is none, or what is there can not be used: that is removed. */
  find(key: string): StoredTemplate | undefined {
    const found = this.#read(key);
    const paths = files(join(this.#directory, key));
    if (found !== undefined && sha256Of(paths.stateFile) === found.stateSha256)
      return { ...found, ...paths, key };
    this.remove(key);
    return undefined;
  }

  /** Where one is made: a directory of its own, which becomes the template by `finish`. */
  begin(key: string): { readonly directory: string; finish: (content: Manifest) => Promise<StoredTemplate> } {
    const [directory, final] = [join(this.#directory, `${key}.new`), join(this.#directory, key)];
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const finish = async (content: Manifest): Promise<StoredTemplate> => {
      await writeFile(join(directory, 'template.json'), JSON.stringify(content), { mode: 0o600 });
      rmSync(final, { recursive: true, force: true });
      renameSync(directory, final);
      return { ...content, ...files(final), key };
    };
    return { directory, finish };
  }

  remove(key: string): void {
    rmSync(join(this.#directory, key), { recursive: true, force: true });
  }

  /** Removes those that were made with something else, unless units at rest need them, and what a dead owner had begun. */
  sweep(present: MadeWith, inUse: ReadonlySet<string>): void {
    if (!existsSync(this.#directory)) return;
    for (const key of readdirSync(this.#directory)) {
      const { madeWith } = this.#read(key) ?? {};
      const fits =
        madeWith?.imageHash === present.imageHash &&
        madeWith.accelerator === present.accelerator &&
        madeWith.qemuVersion === present.qemuVersion;
      if (!fits && !inUse.has(key)) this.remove(key);
    }
  }

  #read(key: string): Manifest | undefined {
    try {
      return manifest.parse(JSON.parse(readFileSync(join(this.#directory, key, 'template.json'), 'utf8')));
    } catch {
      // Missing, or half of it, or of another version.
      return undefined;
    }
  }
}

export const templateFileNames = { memory: 'memory', state: 'state', scratch: 'scratch' } as const;

function files(directory: string): Pick<StoredTemplate, 'memoryFile' | 'stateFile' | 'scratchFile'> {
  return {
    memoryFile: join(directory, templateFileNames.memory),
    stateFile: join(directory, templateFileNames.state),
    scratchFile: join(directory, templateFileNames.scratch),
  };
}

/** Undefined when it can not be read. */
function sha256Of(path: string): string | undefined {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch {
    return undefined;
  }
}
