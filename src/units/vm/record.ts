// What is written down of a unit in units/ID.json, so that whoever comes next finds it, and all that is around it, again.
// Owns the shape and the files. It is written before anything is made: what a dead owner left half made can be swept.
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { UnitId } from '../../base/ids.ts';
import { resources, unitId } from '../../protocol/schemas.ts';
import { writeFileAtomicSync } from '../../sys/atomic-file.ts';

const processIdentity = z.object({ pid: z.number().int(), startTicks: z.number() });

export const unitRecord = z.object({
  version: z.literal(1),
  id: unitId,
  /** Of the machine's boot: numbers of processes mean nothing after another. */
  bootId: z.string(),
  /** Null while it is being made. */
  processes: z.object({ qemu: processIdentity, monitor: processIdentity.nullable() }).nullable(),
  slot: z.number().int().nonnegative(),
  /** Which of its two places its machine has: each move goes to the other, see move.ts. */
  side: z.enum(['a', 'b']).default('a'),
  /** QEMU's user; null where it runs as Bellows' own. */
  uid: z.number().int().nullable(),
  size: resources,
  ramBytes: z.number(),
  /** The template it is a clone of. */
  templateKey: z.string().nullable(),
  network: z.enum(['tap', 'user']),
  mac: z.string(),
  /** Null until it has its identity. */
  door: z.object({ host: z.string(), port: z.number().int(), token: z.string() }).nullable(),
  group: z.array(z.string()),
  /** What is left to use, where that is less than the size; of memory the balloon itself knows. */
  cpuMillicores: z.number().nullable(),
  usableStorageBytes: z.number().nullable(),
  bytesPerSecond: z.number().nullable(),
  /** Its state is in a file, and no process runs, or not yet again: see snapshot.ts. */
  resting: z.boolean().default(false),
});
export type UnitRecord = z.infer<typeof unitRecord>;

export class UnitRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  write(record: UnitRecord): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    // It holds the door's token.
    writeFileAtomicSync(this.#path(record.id), JSON.stringify(record), 0o600);
  }

  /** Undefined when there is none, or none that this version can read. */
  read(id: UnitId): UnitRecord | undefined {
    try {
      return unitRecord.parse(JSON.parse(readFileSync(this.#path(id), 'utf8')));
    } catch {
      return undefined;
    }
  }

  /** Ids of all that is written down, readable or not. */
  ids(): UnitId[] {
    try {
      return readdirSync(this.#directory)
        .filter((name) => name.endsWith('.json') && !name.startsWith('.'))
        .map((name) => name.slice(0, -'.json'.length) as UnitId);
    } catch {
      return [];
    }
  }

  remove(id: UnitId): void {
    rmSync(this.#path(id), { force: true });
  }

  #path(id: UnitId): string {
    return join(this.#directory, `${id}.json`);
  }
}
