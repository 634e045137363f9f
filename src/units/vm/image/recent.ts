// Remembers what takes seconds to find out and is asked at every start: which packages were the newest when apt was last
// asked, and the sum of Node's program. Owns two files in the cache's directory. What they say of packages may be wrong at
// worst for a day: nothing is lost but an update.
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { sha256OfFile } from './packages.ts';

/** Where apt keeps the machine's package lists: the directory changes with each `apt-get update`. */
const machineLists = '/var/lib/apt/lists';
/** Security updates of a kernel come every few weeks. */
const believedMs = 24 * 3600_000;

const recentBase = z.object({ own: z.string(), base: z.string(), listsMs: z.number(), askedMs: z.number() });

const knownSum = z.object({ path: z.string(), size: z.number(), mtimeMs: z.number(), sha256: z.string() });

export class RecentBase {
  readonly #file: string;

  constructor(directory: string) {
    this.#file = join(directory, 'recent.json');
  }

  /** The base's name for these inputs; undefined when apt is to be asked. */
  read(own: string): string | undefined {
    const read = readJson(this.#file, recentBase);
    if (read === undefined) return undefined;
    const stale = Date.now() - read.askedMs > believedMs || read.listsMs !== listsMs();
    return stale || read.own !== own ? undefined : read.base;
  }

  write(own: string, base: string): void {
    const content: z.infer<typeof recentBase> = { own, base, listsMs: listsMs(), askedMs: Date.now() };
    writeFileSync(this.#file, JSON.stringify(content));
  }
}

/** A file's sum, read anew only when the file has changed. Remembered in `memory`. */
export async function rememberedSum(path: string, memory: string): Promise<string> {
  const { size, mtimeMs } = statSync(path);
  const known = readJson(memory, knownSum);
  if (known?.path === path && known.size === size && known.mtimeMs === mtimeMs) return known.sha256;
  const sum: z.infer<typeof knownSum> = { path, size, mtimeMs, sha256: await sha256OfFile(path) };
  writeFileSync(memory, JSON.stringify(sum));
  return sum.sha256;
}

/** Undefined when it is not there yet, or was cut short: then it is found out anew. */
function readJson<T>(file: string, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

function listsMs(): number {
  return statSync(machineLists, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
