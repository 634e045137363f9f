// One sandbox that stands ready without its program: namespaces, mounts, socket, log, scratch space. A start that finds no warm
// process has only Node to wait for, and this costs no Node but bubblewrap's two small processes. Owns that one sandbox until
// it is taken; what runs in it then is the taker's.
//
//   none ──fill──▶ standing ──take──▶ (the taker's) ──a moment later──▶ standing
//                     └──ended by itself──▶ none ──a while later──▶ standing
import type { NetworkMode } from '../model/workload.ts';
import type { Logger } from '../sys/log.ts';
import type { Cgroup, GroupPath } from './cgroup/port.ts';
import { slotGroup } from './groups.ts';
import type { Cell, Cells, Furnish } from './instances/cells.ts';
import { furnishPooled, unboundPlan } from './instances/unbound.ts';

/** Making one forks the agent: not while the start that took the last one is under way. */
const refillAfterMs = 100;
/** Not to spin when none can be made. */
const retryAfterMs = 30_000;

export interface SpareSandboxOptions {
  readonly cells: Cells;
  readonly cgroup: Cgroup;
  readonly network: NetworkMode;
  readonly storageBytes: number;
  readonly log: Logger;
}

interface Taker {
  readonly group: GroupPath;
  readonly furnish: Furnish;
}

interface Standing {
  /** Resolves when its program was started, for its taker. */
  readonly cell: Promise<Cell>;
  readonly taker: PromiseWithResolvers<Taker>;
}

export class SpareSandbox {
  readonly #options: SpareSandboxOptions;
  #standing: Standing | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SpareSandboxOptions) {
    this.#options = options;
  }

  /** Makes it unless it is there. Nobody waits for that. */
  fill(): void {
    if (this.#closed || this.#standing !== undefined) return;
    const { cells, cgroup, network, storageBytes, log } = this.#options;
    const taker = Promise.withResolvers<Taker>();
    // Nobody listens when it ends before it stands.
    taker.promise.catch(() => undefined);
    const hold = async (): Promise<GroupPath> => {
      const { group, furnish } = await taker.promise;
      await furnish(group);
      return group;
    };
    const furnishHere = furnishPooled.bind(null, cgroup);
    const cell = cells.startRuntime(unboundPlan, slotGroup, network, storageBytes, furnishHere, hold);
    const standing: Standing = { cell, taker };
    this.#standing = standing;
    cell.catch((error: unknown) => {
      // Whoever took it is told by the promise itself.
      if (this.#standing !== standing || this.#closed) return;
      this.#standing = undefined;
      log.warn({ err: error }, 'the sandbox that stood ready is lost');
      this.#fillAfter(retryAfterMs);
    });
  }

  /** Starts the program of the one that stands ready, in `group`; undefined when none does. */
  take(group: GroupPath, network: NetworkMode, furnish: Furnish): Promise<Cell> | undefined {
    const standing = this.#standing;
    if (standing === undefined || network !== this.#options.network) return undefined;
    this.#standing = undefined;
    standing.taker.resolve({ group, furnish });
    this.#fillAfter(refillAfterMs);
    return standing.cell;
  }

  /** Resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const standing = this.#standing;
    this.#standing = undefined;
    standing?.taker.reject(new Error('the agent is stopping'));
    await standing?.cell.catch(() => undefined);
  }

  #fillAfter(pauseMs: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.fill(), pauseMs);
  }
}
