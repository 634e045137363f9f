// Submitted code: archives as blobs and their unpacked directories. Owns removing what no workload and no instance
// uses any more; unpacking is the API's, mounting the agent's.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { BellowsError } from '../base/errors.ts';
import type { TenantId } from '../base/ids.ts';
import type { Workload } from '../model/workload.ts';
import type { Store } from '../store/port.ts';
import type { Layout } from '../sys/layout.ts';
import type { Logger } from '../sys/log.ts';
import type { SubmittedCode } from './control-plane.ts';
import type { ActualState } from './state/actual.ts';
import type { DesiredState } from './state/desired.ts';

/** Between an archive's arrival and the deployment that names it: unpacking the largest takes seconds. */
const leaseMs = 600_000;
/** Anything else below the code directory is someone's work in progress. */
const codeDirectoryName = /^[0-9a-f]{64}$/;

export interface CodeStoreParts {
  readonly store: Store;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly layout: Layout;
  readonly clock: Clock;
  readonly log: Logger;
}

export class CodeStore {
  readonly #parts: CodeStoreParts;
  /** Directories that are about to be used, by path: how many submissions wait for their deployment, and until when. */
  readonly #leases = new Map<string, { readonly count: number; readonly untilMs: number }>();
  #sweeping: Promise<void> = Promise.resolve();

  constructor(parts: CodeStoreParts) {
    this.#parts = parts;
  }

  async keep(tenant: TenantId, archive: Uint8Array): Promise<SubmittedCode> {
    const { store, layout, clock } = this.#parts;
    // A sweep that is under way may be about to remove the very directory.
    await this.#sweeping;
    const sha256 = await store.putBlob(archive);
    const directory = layout.codeOf(tenant, sha256);
    const count = (this.#leases.get(directory)?.count ?? 0) + 1;
    this.#leases.set(directory, { count, untilMs: clock.nowMs() + leaseMs });
    return { sha256, sizeBytes: archive.byteLength };
  }

  /** A deployment names it from now on, or has failed: it needs no lease any more. */
  release(tenant: TenantId, sha256: string): void {
    const directory = this.#parts.layout.codeOf(tenant, sha256);
    const lease = this.#leases.get(directory);
    if (lease === undefined) return;
    if (lease.count > 1) this.#leases.set(directory, { ...lease, count: lease.count - 1 });
    else this.#leases.delete(directory);
  }

  /** @throws BellowsError NotFound */
  async archive(workload: Workload): Promise<Buffer> {
    const blob = await this.#parts.store.getBlob(workload.codeSha256);
    if (blob !== undefined) return blob;
    throw new BellowsError('NotFound', `The archive of ${workload.key} is gone.`, 'Deploy it again.');
  }

  /** Removes what nothing uses; after deployments, removals and at start. Failures are logged: the next sweep tries again. */
  sweep(): Promise<void> {
    this.#sweeping = this.#sweeping
      .then(() => this.#sweep())
      .catch((thrown: unknown) => this.#parts.log.warn({ err: thrown }, 'unused code could not be removed'));
    return this.#sweeping;
  }

  async #sweep(): Promise<void> {
    const { store, layout, log } = this.#parts;
    for (const tenant of await entriesOf(layout.code)) {
      for (const name of await entriesOf(join(layout.code, tenant))) {
        const directory = join(layout.code, tenant, name);
        // Asked for each one anew: a deployment may come between.
        if (!codeDirectoryName.test(name) || this.#used().has(directory)) continue;
        await rm(directory, { recursive: true, force: true });
        log.info({ directory }, 'unused code removed');
      }
    }
    for (const sha256 of await store.listBlobs()) {
      const used = [...this.#used()].some((directory) => directory.endsWith(`/${sha256}`));
      if (!used) await store.deleteBlob(sha256);
    }
  }

  #used(): Set<string> {
    const { desired, actual, layout, clock } = this.#parts;
    const nowMs = clock.nowMs();
    for (const [directory, { untilMs }] of this.#leases) if (untilMs < nowMs) this.#leases.delete(directory);
    const used = new Set(this.#leases.keys());
    for (const { current, candidate } of desired.records()) {
      for (const workload of [current, candidate])
        if (workload !== null) used.add(layout.codeOf(workload.tenant, workload.codeSha256));
    }
    for (const { spec } of actual.all()) used.add(spec.codeDirectory);
    return used;
  }
}

async function entriesOf(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return [];
    throw thrown;
  }
}
