// Takes a plan's steps: asks agents to trim and drop, puts on disk or ends what is idle, two at a time, and says what each brought by the
// kernel's figures. Owns the effects of one plan. Which steps, and whether they are enough, is ./reclaimer.ts.
import type { ReclaimStep, Rung } from '../../allocator/reclaim/ladder.ts';
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Logger } from '../../sys/log.ts';
import type { AgentLink } from '../agent-link.ts';
import type { ReclaimedFrom } from '../control-plane.ts';
import type { Measures } from '../measures.ts';
import type { Stopper } from '../reconcile/stopper.ts';
import type { QuietMachines } from '../rest/quiet-machines.ts';
import type { ActualState, Tracked } from '../state/actual.ts';
import type { Asked } from './asked.ts';

/** A trim collects garbage, which stops the program for tens of milliseconds; two at a time leave processors to the rest. */
const trimsAtOnce = 2;
const trimTimeoutMs = 30_000;
/** Some hundred MiB to a disk that may be busy; others wait for the room meanwhile. */
const restTimeoutMs = 60_000;
/** What idles has nothing in flight, and functions are given two seconds to end: longer, and it is in use after all. */
const endTimeoutMs = 10_000;

export interface ClimberParts {
  readonly link: AgentLink;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly stopper: Pick<Stopper, 'retire'>;
  readonly machines: Pick<QuietMachines, 'quietFor' | 'forget'>;
  readonly asked: Asked;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Climber {
  readonly #parts: ClimberParts;

  constructor(parts: ClimberParts) {
    this.#parts = parts;
  }

  /** Stops as soon as `enoughBytes` are back, though there be more steps. @returns those that were taken, in their order */
  async climb(steps: readonly ReclaimStep[], enoughBytes: number, why: string): Promise<ReclaimedFrom[]> {
    const taken: ReclaimedFrom[] = [];
    let backBytes = 0;
    for (let next = 0; next < steps.length && backBytes < enoughBytes; next += trimsAtOnce) {
      const batch = steps.slice(next, next + trimsAtOnce);
      for (const part of await Promise.all(batch.map((step) => this.#take(step, why)))) {
        if (part === undefined) continue;
        taken.push(part);
        backBytes += part.claimedBytes;
      }
    }
    return taken;
  }

  async #take({ id, rung }: ReclaimStep, why: string): Promise<ReclaimedFrom | undefined> {
    const { actual, asked, clock, log } = this.#parts;
    const tracked = actual.get(id);
    // It may have ended, or begun to, since the plan was made.
    if (tracked?.life.phase !== 'serving') return undefined;
    try {
      switch (rung) {
        case 'terminate':
          return await this.#end(tracked, why);
        case 'hibernate':
          return await this.#putToRest(tracked, why);
        default:
          return await this.#trim(tracked, rung);
      }
    } catch (thrown) {
      // The others can still be asked.
      asked.failed(id, clock.monotonicMs());
      log.warn({ err: thrown, instance: id }, 'nothing could be taken back from an instance');
      return undefined;
    }
  }

  async #trim({ spec }: Tracked, rung: Rung): Promise<ReclaimedFrom> {
    const { link } = this.#parts;
    const { beforeBytes, afterBytes, unit } = await link.agent.call(
      'trim',
      rung === 'cache' ? { id: spec.id, cacheOnly: true } : { id: spec.id },
      { timeoutMs: trimTimeoutMs },
    );
    const claimedBytes = unit === undefined ? Math.max(0, beforeBytes - afterBytes) : unit.claimedBytes;
    return { instance: spec.id, workload: spec.workload, how: rung, beforeBytes, afterBytes, claimedBytes };
  }

  /** What its machine's process held. It wakes by itself when it is asked something, or a connection waits for it. */
  async #putToRest({ spec, life }: Tracked, why: string): Promise<ReclaimedFrom | undefined> {
    if (life.phase !== 'serving') return undefined;
    const { unit } = life.known.info;
    const { link, machines } = this.#parts;
    // Somebody may have come since the plan was made.
    const quiet = machines.quietFor(0).find((each) => each.unit === unit);
    if (quiet === undefined) return undefined;
    const { beforeBytes, afterBytes } = await link.agent.call(
      'hibernate',
      { unit, why: `since ${why}`, carriedPackets: quiet.carriedPackets },
      { timeoutMs: restTimeoutMs },
    );
    machines.forget(unit);
    const claimedBytes = Math.max(0, beforeBytes - afterBytes);
    return {
      instance: spec.id,
      workload: spec.workload,
      how: 'hibernate',
      beforeBytes,
      afterBytes,
      claimedBytes,
    };
  }

  /** Nothing of it is cut off: what came to it meanwhile ends first, and then it did not bring anything yet. */
  async #end(tracked: Tracked, why: string): Promise<ReclaimedFrom | undefined> {
    const { id, workload } = tracked.spec;
    // It was about to be used: whoever came first.
    if (!tracked.idle) return undefined;
    const beforeBytes = this.#parts.measures.usageOf(id)?.memoryBytes ?? 0;
    const isGone = await this.#gone(id, why);
    if (!isGone) return undefined;
    return {
      instance: id,
      workload,
      how: 'terminate',
      beforeBytes,
      afterBytes: 0,
      claimedBytes: beforeBytes,
    };
  }

  async #gone(id: InstanceId, why: string): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), endTimeoutMs);
    this.#parts.stopper.retire(id, why).then(
      () => resolve(true),
      (thrown: unknown) => {
        this.#parts.log.error({ err: thrown, instance: id }, 'an idle instance could not be retired');
        resolve(false);
      },
    );
    return promise.finally(() => clearTimeout(timer));
  }
}
