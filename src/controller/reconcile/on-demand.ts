// Instances for functions, when a gateway has requests and nobody to serve them, or is about to. Owns joining of simultaneous
// needs and the bounds on how many; how one is started is ./starter.ts.
import { cpus } from 'node:os';
import { concurrencyCap, defaultTenantConcurrency, instancesToStart } from '../../allocator/scale.ts';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { FunctionWorkload } from '../../model/workload.ts';
import { isLive, type ActualState } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { Starter } from './starter.ts';

/** More starts at once than this only slow each other down: a start is processor work. */
const startsAtOnce = 4 * cpus().length;
/** What a start takes where no measurement says otherwise; only weighs whether a start is worth it. */
const usualStartMs = 100;
/** Who waits for room in vain hears why a moment before its time is over. */
const tellMs = 50;

interface Need {
  readonly workload: WorkloadKey;
  readonly generation: string;
  readonly waiting: number;
  readonly deadlineMs: number;
}

export class OnDemand {
  readonly #desired: DesiredState;
  readonly #actual: ActualState;
  readonly #starter: Starter;
  readonly #clock: Clock;
  /** Starts under way per workload and generation, oldest first. */
  readonly #starts = new Map<string, Map<InstanceId, Promise<InstanceId>>>();

  constructor(parts: {
    readonly desired: DesiredState;
    readonly actual: ActualState;
    readonly starter: Starter;
    readonly clock: Clock;
  }) {
    this.#desired = parts.desired;
    this.#actual = parts.actual;
    this.#starter = parts.starter;
    this.#clock = parts.clock;
  }

  /**
   * Null when the start was given up or stopped: who still waits asks again.
   * @throws BellowsError NotFound, Conflict (another generation), LimitReached, NoRoom, StartFailed, TimedOut
   */
  async acquire(need: Need): Promise<InstanceId | null> {
    const workload = this.#desired.workload(need.workload);
    if (workload?.kind !== 'function')
      throw new BellowsError('NotFound', `There is no function ${need.workload}.`);
    if (workload.generation !== need.generation) {
      throw new BellowsError(
        'Conflict',
        `${need.workload} has a newer deployment than ${need.generation}.`,
        'Use the newest route.',
      );
    }
    const starts = this.#startsOf(workload);
    if (this.#mayStart(workload, need.waiting, starts.size)) {
      return this.#before(need.deadlineMs, this.#start(workload, need.deadlineMs), workload);
    }
    if (starts.size > 0) return this.#before(need.deadlineMs, Promise.race(starts.values()), workload);
    throw new BellowsError(
      'LimitReached',
      `${workload.key} runs as many instances as its concurrency allows: ${this.#limitOf(workload)}.`,
      "Raise its reserved concurrency or the tenant's concurrency limit, or call it less often.",
    );
  }

  /** So many requests wait, fewer than starts are under way: the youngest of those that have found no room are given up. */
  spare(key: WorkloadKey, waiting: number): void {
    const workload = this.#desired.workload(key);
    if (workload?.kind !== 'function') return;
    const starts = [...this.#startsOf(workload).keys()];
    let spare = starts.length - waiting;
    for (const id of starts.reverse()) {
      if (spare <= 0) return;
      if (this.#starter.giveUp(id, 'nobody waits for it any more')) spare -= 1;
    }
  }

  /**
   * Starts one that nobody waits for yet; who needs one meanwhile waits for it. Resolves with undefined when there is no
   * room without anybody's loss, or it may have no more. @throws BellowsError as {@link acquire}
   */
  async startAhead(workload: FunctionWorkload): Promise<InstanceId | undefined> {
    if (!(await this.#starter.hasRoom(workload))) return undefined;
    const starting = this.#startsOf(workload).size;
    // Somebody else's, or a newer deployment's, in the time that was needed to look.
    const isCurrent = this.#desired.workload(workload.key)?.generation === workload.generation;
    if (!isCurrent || starting > 0 || !this.#mayStart(workload, 1, starting)) return undefined;
    return this.#start(workload, this.#clock.nowMs());
  }

  /**
   * Starts one of code that is about to take the place of what serves; who needs one then waits for it. Resolves with undefined
   * when there is no room without anybody's loss. @throws BellowsError as {@link acquire}
   */
  async startSuccessor(next: FunctionWorkload): Promise<InstanceId | undefined> {
    if (!(await this.#starter.hasRoom(next))) return undefined;
    return this.#start(next, this.#clock.nowMs());
  }

  #startsOf({ key, generation }: FunctionWorkload): ReadonlyMap<InstanceId, Promise<InstanceId>> {
    return this.#starts.get(`${key} ${generation}`) ?? new Map<InstanceId, Promise<InstanceId>>();
  }

  #start(workload: FunctionWorkload, deadlineMs: number): Promise<InstanceId> {
    const name = `${workload.key} ${workload.generation}`;
    const starts = this.#starts.get(name) ?? new Map<InstanceId, Promise<InstanceId>>();
    this.#starts.set(name, starts);
    const { id, usable } = this.#starter.start(workload, deadlineMs - tellMs);
    starts.set(id, usable);
    const ended = (): void => {
      starts.delete(id);
      if (starts.size === 0 && this.#starts.get(name) === starts) this.#starts.delete(name);
    };
    usable.then(ended, ended);
    return usable;
  }

  #limitOf({ tenant, reservedConcurrency }: FunctionWorkload): string {
    if (reservedConcurrency !== null) return `it has reserved ${reservedConcurrency}`;
    const { concurrency } = this.#desired.requireTenant(tenant).limits;
    return `the limit of the tenant ${tenant} is ${concurrency ?? defaultTenantConcurrency}`;
  }

  #mayStart(workload: FunctionWorkload, waiting: number, starting: number): boolean {
    if (starting >= startsAtOnce) return false;
    const tenant = this.#desired.requireTenant(workload.tenant);
    const functions = this.#desired.workloads(workload.tenant).filter((other) => other.kind === 'function');
    const others = functions.filter((other) => other.key !== workload.key);
    const unreserved = new Set(
      others.filter((other) => other.reservedConcurrency === null).map((other) => other.key),
    );
    const cap = concurrencyCap({
      reserved: workload.reservedConcurrency,
      tenant: tenant.limits.concurrency,
      reservedByOthers: others.reduce((sum, other) => sum + (other.reservedConcurrency ?? 0), 0),
      // Idle ones run no invocation: they hold memory, which is judged elsewhere, but no concurrency.
      unreservedInUse: this.#actual
        .ofTenant(workload.tenant)
        .filter((tracked) => unreserved.has(tracked.spec.workload) && isLive(tracked) && !tracked.idle)
        .length,
    });
    // Not those of code that is about to take its place.
    const own = this.#actual
      .ofWorkload(workload.key)
      .filter((tracked) => isLive(tracked) && tracked.spec.generation === workload.generation);
    const serving = own.filter(({ life }) => life.phase === 'serving').length;
    // The gateway asks because none of those that serve is free.
    return (
      instancesToStart(
        {
          busy: serving,
          idle: 0,
          starting: own.length - serving,
          waiting,
          head: { waitedMs: 0, takenUp: 0 },
          serviceMs: null,
          startMs: usualStartMs,
        },
        cap,
      ) > 0
    );
  }

  #before(
    deadlineMs: number,
    usable: Promise<InstanceId>,
    workload: FunctionWorkload,
  ): Promise<InstanceId | null> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new BellowsError('TimedOut', `No instance of ${workload.key} was ready in time.`)),
        Math.max(0, deadlineMs - this.#clock.nowMs()),
      );
      usable
        .catch((thrown: unknown) => {
          if (thrown instanceof BellowsError && thrown.code === 'Conflict') return null;
          throw thrown;
        })
        .then(resolve, reject)
        .finally(() => clearTimeout(timer));
    });
  }
}
