// How much of the unit's memory instances may have together: a limit on the group above all tenants, so that what is claimed
// can not be had inside either. Owns that limit and its hold. Instances' own limits are resize/.
//
// As long as what instances may count on fits into what is usable, the limit above only backs their own up. When more was lent
// than is here (sum above usable), somebody may come within it who is in the right: then it holds, which slows down who
// goes beyond it instead of killing, and the owner is told to give back what it claimed.
import { watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import { BellowsError } from '../../base/errors.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { Clock } from '../../base/clock.ts';
import type { Cgroup } from '../cgroup/port.ts';
import { tenantsGroup } from '../groups.ts';
import { Episodes } from '../pressure.ts';

/** Whether instances may come within what is usable without having come within their own limits. Null: no limit. */
export function isLent(usableBytes: number | null, limits: readonly (number | null)[]): boolean {
  if (usableBytes === null) return false;
  const sum = limits.reduce<number>((total, limit) => total + (limit ?? Number.POSITIVE_INFINITY), 0);
  return sum > usableBytes;
}

export interface UsableOptions {
  readonly cgroup: Cgroup;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** What each instance may count on: its own limit, or what it was promised while that is lent. */
  readonly limits: () => readonly (number | null)[];
  /** Somebody has come within what is usable, in the right: once for each episode. */
  readonly onShort: () => void;
}

export class Usable {
  readonly #options: UsableOptions;
  #watcher: FSWatcher | undefined;
  #limitHits = 0;
  /** Apart from what else is told: a machine whose tasks stalled a moment ago may be calm, and its instances short now. */
  #episodes = new Episodes();

  constructor(options: UsableOptions) {
    this.#options = options;
  }

  /** Goes on with what an earlier agent set. */
  open(): void {
    const { cgroup } = this.#options;
    cgroup.create(tenantsGroup);
    const directory = cgroup.memoryDirectory(tenantsGroup);
    if (directory === null) return;
    this.#limitHits = cgroup.memoryStrain(tenantsGroup).limitHits;
    // The kernel tells of changes of this file.
    this.#watcher = watch(join(directory, 'memory.events'), () => this.#look());
    this.refresh();
  }

  /** @throws BellowsError Infeasible when more is in use and can not be dropped */
  async set(memoryBytes: number): Promise<void> {
    const { cgroup } = this.#options;
    const outcome = await cgroup.setLimits(tenantsGroup, { memoryBytes });
    if (outcome === 'busy') {
      const { workingSetBytes } = cgroup.usage(tenantsGroup);
      throw new BellowsError(
        'Infeasible',
        `Instances can not be held within ${humanBytes(memoryBytes)}: they use ${humanBytes(workingSetBytes)}.`,
        'Shrink or stop instances first, or claim less.',
      );
    }
    // Whoever is short of this has not been told of.
    this.#episodes = new Episodes();
    this.refresh();
  }

  /** To be called when instances' limits have changed. */
  refresh(): void {
    const { cgroup, limits } = this.#options;
    const { memoryBytes } = cgroup.limits(tenantsGroup);
    const wanted = isLent(memoryBytes, limits());
    if (wanted !== cgroup.memoryStrain(tenantsGroup).held) cgroup.holdOutOfMemory(tenantsGroup, wanted);
  }

  close(): void {
    this.#watcher?.close();
  }

  #look(): void {
    const { cgroup, clock, onShort } = this.#options;
    const { held, limitHits } = cgroup.memoryStrain(tenantsGroup);
    const isHit = limitHits > this.#limitHits;
    this.#limitHits = limitHits;
    if (held && isHit && this.#episodes.isNews(clock.monotonicMs())) onShort();
  }
}
