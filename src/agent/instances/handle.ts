// What is kept on disk of a running instance, so that a new agent finds and adopts it. Written before the instance can be
// used, removed when nothing of it is left. Owns the format, versioned, and its files.
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { endpoint, instanceSpec } from '../../protocol/agent.ts';
import { promisedResources, resources } from '../../protocol/schemas.ts';
import { ReplacedFile, writeFileAtomicSync } from '../../sys/atomic-file.ts';
import type { Layout } from '../../sys/layout.ts';
import type { SlotName } from '../slot.ts';

const identity = z.object({ pid: z.number().int().positive(), startTicks: z.number().nonnegative() });

const handleSchema = z.object({
  version: z.literal(1),
  spec: instanceSpec,
  slot: z.string().transform((name) => name as SlotName),
  processes: z.object({ monitor: identity.nullable(), init: identity, main: identity }),
  /** `none` processes can only be adopted without a sandbox, and the other way round. */
  sandbox: z.enum(['bubblewrap', 'none']),
  endpoint,
  /** Where the instance was told that its Runtime API is; null without. */
  runtimeApiPort: z.number().int().nullable(),
  /** The staged runtime it runs from, a host path. */
  runtimeDirectory: z.string(),
  startedAtMs: z.number(),
  /** False while user code loads: whoever waited for that is gone after a crash, so such a one is ended. */
  ready: z.boolean(),
  pooled: z.boolean(),
  grant: resources,
  desired: resources,
  promised: promisedResources.optional(),
  grantGeneration: z.number().int().nonnegative(),
  /** Memory that its processes were charged in the pool's group, where the kernel leaves it. */
  chargedBeforeBytes: z.number().nonnegative().default(0),
});
export type Handle = z.infer<typeof handleSchema>;

/** An agent that dies within this leaves the grant of before: the next one is told the present one. */
const settleMs = 100;

export class Handles {
  readonly #layout: Layout;
  readonly #replaced = new Map<string, ReplacedFile>();

  constructor(layout: Layout) {
    this.#layout = layout;
    mkdirSync(layout.handles, { recursive: true, mode: 0o700 });
  }

  /** Replaces the handle of an instance that serves: nobody waits for it, the last state wins. */
  replace(handle: Handle): void {
    const { id } = handle.spec;
    let file = this.#replaced.get(id);
    if (file === undefined) {
      // Without it a new agent finds the grant of before, and the controller tells it the present one.
      file = new ReplacedFile(this.#layout.handle(id), {
        mode: 0o600,
        settleMs,
        onError: () => undefined,
      });
      this.#replaced.set(id, file);
    }
    file.replace(JSON.stringify(handle));
  }

  write(handle: Handle): void {
    this.#replaced.get(handle.spec.id)?.overtaken();
    // It holds the workload's environment: nobody else may read it.
    writeFileAtomicSync(this.#layout.handle(handle.spec.id), JSON.stringify(handle), 0o600);
  }

  async remove(id: string): Promise<void> {
    await this.#replaced.get(id)?.close();
    this.#replaced.delete(id);
    await rm(this.#layout.handle(id), { force: true });
  }

  /** Every handle there is. What can not be read is told and left out: its processes are then found as strays. */
  readAll(onUnreadable: (file: string, reason: string) => void): Handle[] {
    const handles: Handle[] = [];
    for (const name of readdirSync(this.#layout.handles)) {
      if (!name.endsWith('.json')) continue;
      const file = join(this.#layout.handles, name);
      try {
        handles.push(handleSchema.parse(JSON.parse(readFileSync(file, 'utf8'))));
      } catch (error) {
        onUnreadable(file, error instanceof Error ? error.message : String(error));
      }
    }
    return handles;
  }

  /** Removes what is no handle: unreadable ones and halves of writes that a crash cut. */
  async removeAllBut(ids: ReadonlySet<string>): Promise<void> {
    for (const name of readdirSync(this.#layout.handles)) {
      if (!ids.has(name.replace(/\.json$/, ''))) await rm(join(this.#layout.handles, name), { force: true });
    }
  }
}
