// What the fleet keeps on disk of a unit beside the driver's handle: whom it has served, how far its logs were read, and who is in it
// while it rests.
// Written before a unit serves a tenant, so that a fleet that comes back never gives it to another. Owns the files.
import { mkdirSync, readFileSync, rmSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { UnitId } from '../../base/ids.ts';
import { agentProtocol } from '../../protocol/agent.ts';
import { tenantId } from '../../protocol/schemas.ts';
import { writeFileAtomicSync } from '../../sys/atomic-file.ts';

const record = z.object({
  version: z.literal(1),
  served: z.array(tenantId),
  /** By workload: the guest's cursor after the last line that is in the host's log. */
  logCursors: z.record(z.string(), z.string()),
  /** Written before it is put to rest: of use only if it came to rest, since its guest can not be asked then. */
  asleep: z
    .object({
      /** What runs in it, by its guest's word. */
      listed: agentProtocol.methods.list.result.shape.instances,
      /** Memory that it takes when it runs again. */
      neededBytes: z.number().nonnegative(),
    })
    .nullable()
    .default(null),
});
export type UnitRecord = z.infer<typeof record>;

const emptyRecord: UnitRecord = { version: 1, served: [], logCursors: {}, asleep: null };

export class UnitRecords {
  readonly #directory: string;

  constructor(dataDirectory: string) {
    this.#directory = join(dataDirectory, 'fleet');
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
  }

  /** Undefined when the unit has never served anybody; `unreadable` when that can not be told any more. */
  read(unit: UnitId): UnitRecord | undefined | 'unreadable' {
    let text: string;
    try {
      text = readFileSync(this.#path(unit), 'utf8');
    } catch (thrown) {
      if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return undefined;
      throw thrown;
    }
    try {
      return record.parse(JSON.parse(text));
    } catch {
      return 'unreadable';
    }
  }

  /** Writes down what has changed of it. */
  update(unit: UnitId, change: Partial<Omit<UnitRecord, 'version'>>): void {
    const present = this.read(unit);
    const before = present === undefined || present === 'unreadable' ? emptyRecord : present;
    writeFileAtomicSync(this.#path(unit), JSON.stringify({ ...before, ...change }), 0o600);
  }

  remove(unit: UnitId): void {
    rmSync(this.#path(unit), { force: true });
  }

  /** Of units that are gone. */
  removeAllBut(units: ReadonlySet<string>): void {
    for (const name of readdirSync(this.#directory))
      if (!units.has(name.replace(/\.json$/, ''))) rmSync(join(this.#directory, name), { force: true });
  }

  #path(unit: UnitId): string {
    return join(this.#directory, `${unit}.json`);
  }
}
