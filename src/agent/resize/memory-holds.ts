// Why out-of-memory of a group is held: several may want that at once, and it ends with the last of them. Owns who wants it.
// What a hold is, is the kernel seam's (../cgroup/port.ts); when one may end is for who began it to know.
import type { Cgroup, GroupPath } from '../cgroup/port.ts';

/** A limit that was just lowered, one that is lent down to, and one that is less than was asked for. */
export type Holder = 'shrink' | 'loan' | 'shortfall';

export class MemoryHolds {
  readonly #cgroup: Pick<Cgroup, 'holdOutOfMemory'>;
  readonly #holders = new Map<string, Set<Holder>>();

  constructor(cgroup: Pick<Cgroup, 'holdOutOfMemory'>) {
    this.#cgroup = cgroup;
  }

  hold(group: GroupPath, holder: Holder): void {
    const key = group.join('/');
    const holders = this.#holders.get(key) ?? new Set();
    this.#holders.set(key, holders.add(holder));
    this.#cgroup.holdOutOfMemory(group, true);
  }

  /** Nothing when it does not hold, or somebody else goes on holding. Also of a group that is gone. */
  release(group: GroupPath, holder: Holder): void {
    const key = group.join('/');
    const holders = this.#holders.get(key);
    if (holders?.delete(holder) !== true || holders.size > 0) return;
    this.#holders.delete(key);
    this.#cgroup.holdOutOfMemory(group, false);
  }
}
