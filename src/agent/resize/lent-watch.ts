// Sees when a running instance comes near the limit that it was lent down to. Owns how that is noticed; what is done about it
// is lending.ts's.
//
//   begin ──▶ looked at every 100 ms ──the kernel tells from now on──▶ told of when it comes near ──near, but by cache──▶ looked at …
//                │ near, or a process waits                             │
//                ▼                                                      ▼
//                onStrained
//
// Hundreds can be watched at no cost: nothing is done as long as they are not near. One that stands still never is, however near.
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../sys/log.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import { strainEdgeBytes } from './loan.ts';
import { NearLooks } from './near-looks.ts';

export interface LentWatchOptions {
  readonly cgroup: Cgroup;
  readonly log: Logger;
  readonly onStrained: (id: InstanceId) => void;
}

interface Watched {
  readonly group: GroupPath;
  readonly edgeBytes: number;
  readonly stop: () => void;
  /** Whether the kernel tells; until then, and where it does not, it is looked at. */
  isTold: boolean;
}

export class LentWatch {
  readonly #options: LentWatchOptions;
  readonly #watched = new Map<InstanceId, Watched>();
  /** Those that have to be looked at: which are near, or of which the kernel does not tell. */
  readonly #near = new NearLooks((id) => this.#look(id));

  constructor(options: LentWatchOptions) {
    this.#options = options;
  }

  /**
   * Also for one that is watched already, at another limit. One that stands still has what it was promised before it runs; of it
   * the kernel tells only if it should stand at its limit all the same.
   */
  begin(id: InstanceId, group: GroupPath, limitBytes: number): void {
    this.end(id);
    const { cgroup } = this.#options;
    const edgeBytes = strainEdgeBytes(limitBytes);
    const nearBytes = cgroup.isFrozen(group) ? null : edgeBytes;
    const { tells, stop } = cgroup.watchMemory(group, nearBytes, () => this.#look(id));
    const watched = { group, edgeBytes, stop, isTold: false };
    this.#watched.set(id, watched);
    this.#look(id);
    tells.then(
      (told) => {
        watched.isTold = told;
        // What it had come to before that is told by nobody.
        if (this.#watched.get(id) === watched) this.#look(id);
      },
      (error: unknown) => this.#failed(id, error),
    );
  }

  end(id: InstanceId): void {
    this.#watched.get(id)?.stop();
    this.#watched.delete(id);
    this.#near.set(id, false);
  }

  close(): void {
    for (const id of [...this.#watched.keys()]) this.end(id);
  }

  #look(id: InstanceId): void {
    const watched = this.#watched.get(id);
    if (watched === undefined) return;
    const { cgroup, onStrained } = this.#options;
    const { group, edgeBytes, isTold } = watched;
    try {
      const { waiting, memoryBytes } = cgroup.memoryStrain(group);
      const charged = memoryBytes >= edgeBytes && !cgroup.isFrozen(group);
      // Cache may fill a group up to its limit and is dropped again: only what can not be dropped counts.
      if (waiting || (charged && cgroup.usage(group).workingSetBytes >= edgeBytes)) onStrained(id);
      else this.#near.set(id, charged || !isTold);
    } catch (error) {
      this.#failed(id, error);
      this.#near.set(id, true);
    }
  }

  #failed(id: InstanceId, error: unknown): void {
    this.#options.log.error({ instance: id, error: messageOf(error) }, 'a lent limit could not be watched');
  }
}
