// Starts one instance: room first, then the agent, then usable or gone. Owns the calls to start and their answers.
// Does not decide that one is needed (./reconciler.ts for apps, ./on-demand.ts for functions).
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { UnitKind } from '../../model/unit-kind.ts';
import type { Workload } from '../../model/workload.ts';
import type { Layout } from '../../sys/layout.ts';
import { startTimeoutIn } from '../config.ts';
import { newInstanceSpec } from '../instance-spec.ts';
import type { Places } from '../places.ts';
import type { Tracked } from '../state/actual.ts';
import { Admission, type AdmissionParts } from './admission.ts';

/** While an instance becomes usable: look again at least so often, though changes are told. */
const pollMs = 500;

export interface StarterParts extends AdmissionParts {
  readonly layout: Layout;
  readonly places: Places;
  /** Where this Bellows answers, as an instance reaches it. */
  readonly ownUrl: string;
}

export class Starter {
  readonly #parts: StarterParts;
  readonly #admission: Admission;
  readonly #pending = new Set<InstanceId>();
  /** Why those that are pending were told to stop: they may be gone before their start is answered. */
  readonly #stopped = new Map<InstanceId, string>();

  constructor(parts: StarterParts) {
    this.#parts = parts;
    this.#admission = new Admission(parts);
    parts.actual.onChange(({ tracked: { spec, life } }) => {
      if (life.phase === 'stopping' && this.#pending.has(spec.id)) this.#stopped.set(spec.id, life.why);
    });
  }

  /** Whether a start of ours is under way, whose failure is told to whoever began it. */
  isPending(id: InstanceId): boolean {
    return this.#pending.has(id);
  }

  /** Whether one more would have all that it asks for at once, without anybody's loss. */
  hasRoom(workload: Workload): Promise<boolean> {
    return this.#admission.hasRoom(workload);
  }

  /** How long a start of it may take, where it is to run. */
  startTimeoutMs(workload: Workload): number {
    return startTimeoutIn(this.#parts.places.of(workload), this.#parts.tuning);
  }

  /**
   * Counted as starting from now on; `usable` resolves when it serves.
   * It rejects with StartFailed (the message is JSON of Lambda's payload), LimitReached, NoRoom, Conflict (stopped meanwhile)
   * or NotSupportedHere (it is to run where nothing runs).
   */
  start(
    workload: Workload,
    roomDeadlineMs: number,
  ): { readonly id: InstanceId; readonly usable: Promise<InstanceId> } {
    const { desired, layout, clock, ownUrl, places } = this.#parts;
    const tenant = desired.requireTenant(workload.tenant);
    const unitKind = places.of(workload);
    const spec = newInstanceSpec(workload, { tenant, layout, nowMs: clock.nowMs(), ownUrl, unitKind });
    this.#parts.actual.set({
      spec,
      life: { phase: 'waiting', known: null },
      idle: false,
      lastUsedMs: this.#parts.clock.nowMs(),
      servingSinceMs: null,
    });
    this.#pending.add(spec.id);
    const usable = this.#run(spec.id, unitKind, roomDeadlineMs).finally(() => {
      this.#pending.delete(spec.id);
      this.#stopped.delete(spec.id);
    });
    return { id: spec.id, usable };
  }

  /** Gives up a start that has found no room yet; `usable` rejects with Conflict. @returns false when it has begun, or is over */
  giveUp(id: InstanceId, why: string): boolean {
    const { actual } = this.#parts;
    if (actual.get(id)?.life.phase !== 'waiting') return false;
    actual.remove(id, why);
    return true;
  }

  async #run(id: InstanceId, unitKind: UnitKind, roomDeadlineMs: number): Promise<InstanceId> {
    const { actual, clock, places } = this.#parts;
    try {
      places.require(unitKind);
      await this.#admission.waitForRoom(id, roomDeadlineMs);
    } catch (thrown) {
      actual.remove(id, places.has(unitKind) ? 'it found no room' : 'nothing runs where it is to');
      throw thrown;
    }
    if (actual.get(id) === undefined)
      throw new BellowsError('Conflict', 'The start was given up before it began.');
    const tracked = this.#present(id);
    await this.#callAgent(tracked);
    const started = await this.#untilUsable(id);
    if (started.servingSinceMs === null)
      actual.set({ ...started, servingSinceMs: clock.nowMs(), lastUsedMs: clock.nowMs() });
    return id;
  }

  async #callAgent(tracked: Tracked): Promise<void> {
    const { link, actual, tuning, clock, log } = this.#parts;
    const { id } = tracked.spec;
    const timeoutMs = startTimeoutIn(tracked.spec.unitKind ?? 'host', tuning);
    const call = link.agent.call('start', tracked.spec, { timeoutMs });
    this.#parts.stopper.startUnderWay(id, call);
    try {
      const result = await call;
      const present = actual.get(id);
      if (result.outcome === 'failed') {
        actual.remove(id, result.error.errorMessage);
        throw this.#whyGone(id) ?? new BellowsError('StartFailed', JSON.stringify(result.error));
      }
      if (present?.life.phase !== 'starting') return;
      const nowMs = clock.nowMs();
      const known = { info: result.instance, endpoint: result.endpoint };
      actual.set({ ...present, life: { phase: 'serving', known }, lastUsedMs: nowMs, servingSinceMs: nowMs });
      log.info(
        {
          instance: id,
          workload: tracked.spec.workload,
          pooled: result.pooled,
          durationMs: result.durationMs,
        },
        'instance started',
      );
    } catch (thrown) {
      if (!(thrown instanceof BellowsError)) {
        actual.remove(id, 'its start went wrong inside Bellows');
        throw thrown;
      }
      if (thrown.code !== 'Unavailable') {
        actual.remove(id, thrown.message);
        throw thrown;
      }
      // It may be running all the same: the agent's list will tell, and until then it counts.
      const present = actual.get(id);
      if (present?.life.phase === 'starting')
        actual.set({ ...present, life: { ...present.life, unanswered: true } });
      void link.requestSync();
    }
  }

  /** @throws BellowsError Conflict when it was stopped, StartFailed when it went before it served or takes too long */
  async #untilUsable(id: InstanceId): Promise<Tracked> {
    const { actual, clock, link, stopper, tuning, log } = this.#parts;
    // The agent's own deadline for a start was nearly as long: this one is for starts whose answer was lost.
    const deadlineMs = clock.nowMs() + startTimeoutIn(this.#present(id).spec.unitKind ?? 'host', tuning);
    for (;;) {
      const tracked = this.#present(id);
      if (tracked.life.phase === 'serving') return tracked;
      if (link.closed) throw new BellowsError('Unavailable', 'The controller is stopping.');
      if (clock.nowMs() >= deadlineMs) {
        stopper
          .stop(id, 'it did not become usable in time')
          .catch((thrown: unknown) =>
            log.error({ err: thrown, instance: id }, 'a start that takes too long could not be ended'),
          );
        throw startFailed('Runtime.InitTimeout', 'The instance did not become usable in time.');
      }
      await actual.nextChange(pollMs);
    }
  }

  /** By ourselves, for newer code mostly: its process ended before it served because it was told to. */
  #whyGone(id: InstanceId): BellowsError | undefined {
    const why = this.#stopped.get(id);
    return why === undefined ? undefined : stoppedMeanwhile(why);
  }

  #present(id: InstanceId): Tracked {
    const tracked = this.#parts.actual.get(id);
    if (tracked === undefined)
      throw (
        this.#whyGone(id) ?? startFailed('Runtime.ExitError', 'The instance ended before it could serve.')
      );
    if (tracked.life.phase === 'retiring' || tracked.life.phase === 'stopping')
      throw stoppedMeanwhile(tracked.life.why);
    return tracked;
  }
}

function stoppedMeanwhile(why: string): BellowsError {
  return new BellowsError('Conflict', `The instance was stopped while it started: ${why}.`);
}

function startFailed(errorType: string, errorMessage: string): BellowsError {
  return new BellowsError('StartFailed', JSON.stringify({ errorType, errorMessage, trace: [] }));
}
