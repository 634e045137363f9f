// Instances that have less memory than was asked for them, because room is short: out-of-memory is held as long as that is so,
// for nobody is to be killed who stays within what was asked for. Who needs more waits until it is granted more, or is ended.
//
//   settle: limit below request ──▶ easy, held ──near its limit, or stands at it──▶ strained: told at once, and again while it lasts
//                                     ▲                                                │
//                                     └── uses less, or has another limit, told ───────┘
//   settle: all that was asked for, forget (gone) ──▶ none, hold ended
//
// Owns these holds and the looking. Making room is for whoever is told. One that is lent of is looked after by ./lending.ts.
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup, GroupPath, MemoryWatch } from '../cgroup/port.ts';
import type { InstanceControl } from './control.ts';
import { endHold } from './holds.ts';
import { strainEdgeBytes } from './loan.ts';
import type { MemoryHolds } from './memory-holds.ts';
import { NearLooks } from './near-looks.ts';
import type { Groups } from './owners.ts';
import { isToBeTold, judgeStrain, type Strain } from './strain.ts';

export interface ShortfallsOptions extends Pick<Groups, 'groupOfInstance'> {
  readonly cgroup: Cgroup;
  readonly control: Pick<InstanceControl, 'describe' | 'strained'>;
  readonly holds: MemoryHolds;
  readonly clock: Clock;
  readonly log: Logger;
  /** Whether a part of it is lent: whoever lends looks after it, and gives back. */
  readonly isLent: (id: InstanceId) => boolean;
}

interface Short {
  readonly group: GroupPath;
  readonly limitBytes: number;
  told: Strain;
  toldMs: number;
  /** Null while it is lent of. */
  readonly watch: MemoryWatch | null;
  isTold: boolean;
}

export class Shortfalls {
  readonly #options: ShortfallsOptions;
  /** How much was asked for each, whatever it was granted. */
  readonly #requestedBytes = new Map<InstanceId, number>();
  readonly #short = new Map<InstanceId, Short>();
  /** Those that have to be looked at: which are near, or of which the kernel does not tell. */
  readonly #near = new NearLooks((id) => this.#look(id));

  constructor(options: ShortfallsOptions) {
    this.#options = options;
  }

  /** What is asked for it from now on. Before its limit is written: nobody is killed in between. */
  request(id: InstanceId, requestedBytes: number, grantedBytes: number): void {
    this.#requestedBytes.set(id, requestedBytes);
    if (grantedBytes < requestedBytes) this.#hold(id);
  }

  /** It was started, with out-of-memory held, in less memory than was asked for it. It may have been given more since. */
  started(id: InstanceId, requestedBytes: number): void {
    if (this.#options.control.describe(id) === undefined) return;
    if (!this.#requestedBytes.has(id)) this.#requestedBytes.set(id, requestedBytes);
    this.#hold(id);
    this.settle(id);
  }

  /** After its limit, or whether it is lent of, may have changed. */
  settle(id: InstanceId): void {
    const { cgroup, control, holds, groupOfInstance } = this.#options;
    const requestedBytes = this.#requestedBytes.get(id);
    if (requestedBytes === undefined || control.describe(id) === undefined) return;
    const group = groupOfInstance(id);
    const limitBytes = cgroup.limits(group).memoryBytes;
    const isLent = this.#options.isLent(id);
    const known = this.#short.get(id);
    if (limitBytes === null || limitBytes >= requestedBytes) {
      this.#end(id);
      holds.release(group, 'shortfall');
      if (known !== undefined && known.told !== 'easy') this.#tell(id, known, 'easy');
      return;
    }
    holds.hold(group, 'shortfall');
    if (known?.limitBytes === limitBytes && (known.watch === null) === isLent) return;
    this.#end(id);
    const watch = isLent
      ? null
      : cgroup.watchMemory(group, strainEdgeBytes(limitBytes), () => this.#look(id));
    const short: Short = {
      group,
      limitBytes,
      told: known?.told ?? 'easy',
      toldMs: known?.toldMs ?? Number.NEGATIVE_INFINITY,
      watch,
      isTold: false,
    };
    this.#short.set(id, short);
    this.#look(id);
    watch?.tells.then(
      (told) => {
        short.isTold = told;
        // What it had come to before that is told by nobody.
        if (this.#short.get(id) === short) this.#look(id);
      },
      (error: unknown) => this.#failed(id, error),
    );
  }

  /** The instance is gone, or about to go. */
  forget(id: InstanceId): void {
    this.#requestedBytes.delete(id);
    const short = this.#short.get(id);
    if (short === undefined) return;
    this.#end(id);
    this.#options.holds.release(short.group, 'shortfall');
  }

  /** A hold that nobody watches would let a process wait for ever: whoever stands at its limit has more. */
  close(): void {
    for (const [id, { group }] of [...this.#short]) {
      this.#end(id);
      void endHold(this.#options.cgroup, group, 0).catch((error: unknown) => this.#failed(id, error));
    }
  }

  /** Where nothing limits memory nothing is to be held. */
  #hold(id: InstanceId): void {
    const { cgroup, control, holds, groupOfInstance } = this.#options;
    if (cgroup.capabilities.memoryLimit && control.describe(id) !== undefined)
      holds.hold(groupOfInstance(id), 'shortfall');
  }

  #end(id: InstanceId): void {
    this.#short.get(id)?.watch?.stop();
    this.#short.delete(id);
    this.#near.set(id, false);
  }

  #look(id: InstanceId): void {
    const short = this.#short.get(id);
    if (short === undefined) return;
    const { cgroup, clock } = this.#options;
    try {
      const { group, limitBytes, watch, isTold, told, toldMs } = short;
      const { memoryBytes, waiting } = cgroup.memoryStrain(group);
      const isCharged = memoryBytes >= strainEdgeBytes(limitBytes);
      const strain =
        watch === null || !(waiting || isCharged)
          ? 'easy'
          : judgeStrain(
              {
                workingSetBytes: cgroup.usage(group).workingSetBytes,
                isStopped: waiting,
                standsStill: cgroup.isFrozen(group),
              },
              limitBytes,
            );
      if (isToBeTold(told, strain, clock.monotonicMs() - toldMs)) this.#tell(id, short, strain);
      const mayCome = watch !== null && (isCharged || waiting || !isTold);
      this.#near.set(id, mayCome || short.told !== 'easy');
    } catch (error) {
      this.#failed(id, error);
      this.#near.set(id, true);
    }
  }

  #tell(id: InstanceId, short: Short, strain: Strain): void {
    short.told = strain;
    short.toldMs = this.#options.clock.monotonicMs();
    const { limitBytes } = short;
    const requestedBytes = this.#requestedBytes.get(id) ?? limitBytes;
    this.#options.control.strained(id, { strain, limitBytes, requestedBytes });
  }

  #failed(id: InstanceId, error: unknown): void {
    this.#options.log.error(
      { instance: id, error: messageOf(error) },
      'a limit below the request could not be watched',
    );
  }
}
