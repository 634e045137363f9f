// Processes that were started ahead and belong to nobody yet. Owns how many there are; who takes one owns it then.
// Refills in the background, one at a time, in a group of little weight. A process that ended is replaced. Whoever finds none
// gets one that is started for it, in the spare sandbox where there is one (spare.ts).
import type { NetworkMode } from '../model/workload.ts';
import type { Logger } from '../sys/log.ts';
import type { Cgroup, GroupPath } from './cgroup/port.ts';
import { poolCpuWeight } from './config.ts';
import { poolGroup, slotGroup } from './groups.ts';
import type { Cell, Cells, Furnish } from './instances/cells.ts';
import { furnishPooled, unboundPlan } from './instances/unbound.ts';
import { SpareSandbox } from './spare.ts';

/**
 * From the moment a process is taken until the next is started: starting one forks, which waits for the kernel's move of
 * the taken one into its group and would hold up the very start that the pool is there for.
 */
const refillAfterMs = 100;
/** After a start that failed, or a process that ended by itself: not to spin when every one does. */
const retryMs = { first: 500, longest: 30_000 } as const;

export interface PoolOptions {
  readonly cells: Cells;
  readonly cgroup: Cgroup;
  readonly network: NetworkMode;
  readonly storageBytes: number;
  /** Whether a sandbox stands ready for a process that is not started ahead. */
  readonly keepsSpare: boolean;
  readonly log: Logger;
  readonly onChange: (ready: number) => void;
}

export class Pool {
  readonly #options: PoolOptions;
  /** The newest last: it is taken first, its memory is still in the processor's caches. */
  readonly #ready: Cell[] = [];
  /** Cells that are being ended. */
  readonly #ending = new Set<Promise<void>>();
  #size = 0;
  #pauseMs: number = retryMs.first;
  #refilling: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  readonly #spare: SpareSandbox | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    if (options.keepsSpare && options.cells.sandbox.holdsPrograms) this.#spare = new SpareSandbox(options);
  }

  get ready(): number {
    return this.#ready.length;
  }

  async open(): Promise<void> {
    this.#options.cgroup.create(poolGroup);
    await this.#options.cgroup.setLimits(poolGroup, { cpuWeight: poolCpuWeight });
  }

  /** Once what an earlier agent left is taken over or ended. */
  begin(): void {
    this.#spare?.fill();
  }

  setSize(size: number): void {
    this.#size = size;
    while (this.#ready.length > size) {
      const cell = this.#ready.shift();
      if (cell !== undefined) this.#end(cell);
    }
    this.#changed();
    this.#refill();
  }

  /** A process that waits to be bound, or undefined. */
  take(network: NetworkMode): Cell | undefined {
    if (network !== this.#options.network) return undefined;
    const cell = this.#ready.pop();
    if (cell !== undefined) {
      this.#changed();
      this.#refillAfter(refillAfterMs);
    }
    return cell;
  }

  /** An unbound process that the pool does not keep, for whoever found it empty. It is still starting. */
  start(group: GroupPath, network: NetworkMode, storageBytes: number, furnish: Furnish): Promise<Cell> {
    const { cells, log } = this.#options;
    const startAnew = (): Promise<Cell> =>
      cells.startRuntime(unboundPlan, () => group, network, storageBytes, furnish);
    const spare = this.#spare?.take(group, network, furnish);
    if (spare === undefined) return startAnew();
    return spare.catch((error: unknown) => {
      // It had ended, and nobody knew yet: no program of anybody's ran in it.
      log.warn({ err: error }, 'the sandbox that stood ready could not be used; another is made');
      return startAnew();
    });
  }

  /** Ends every process that waits. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#refilling;
    for (const cell of this.#ready.splice(0)) this.#end(cell);
    await Promise.all([...this.#ending, this.#spare?.close()]);
  }

  #refill(): void {
    if (
      this.#refilling !== undefined ||
      this.#timer !== undefined ||
      this.#closed ||
      this.#ready.length >= this.#size
    )
      return;
    this.#refilling = this.#addOne().finally(() => {
      this.#refilling = undefined;
      // In a later turn, so that starts which wait for the machine go first.
      setImmediate(() => this.#refill());
    });
  }

  async #addOne(): Promise<void> {
    try {
      const { cells, cgroup, network, storageBytes } = this.#options;
      const furnish = furnishPooled.bind(null, cgroup);
      const cell = await cells.startRuntime(unboundPlan, slotGroup, network, storageBytes, furnish);
      try {
        await cells.whenReady(cell);
      } catch (thrown) {
        this.#end(cell);
        throw thrown;
      }
      if (this.#closed || this.#ready.length >= this.#size) return this.#end(cell);
      this.#ready.push(cell);
      void cell.exited.then(() => this.#lost(cell));
      this.#pauseMs = retryMs.first;
      this.#changed();
    } catch (error) {
      this.#options.log.error({ err: error }, 'no process could be started ahead');
      this.#pause();
    }
  }

  /** It ended by itself, or somebody killed it. */
  #lost(cell: Cell): void {
    const at = this.#ready.indexOf(cell);
    if (at < 0) return;
    this.#ready.splice(at, 1);
    this.#options.log.warn({ slot: cell.slot.name }, 'a process of the pool ended');
    this.#end(cell);
    this.#changed();
    this.#pause();
  }

  #refillAfter(pauseMs: number): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#refill();
    }, pauseMs);
  }

  #pause(): void {
    this.#refillAfter(this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, retryMs.longest);
  }

  #end(cell: Cell): void {
    const ending: Promise<void> = this.#options.cells
      .end(cell)
      .catch((error: unknown) =>
        this.#options.log.error(
          { err: error, slot: cell.slot.name },
          'a process of the pool could not be ended',
        ),
      )
      .finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  #changed(): void {
    this.#options.onChange(this.#ready.length);
  }
}
