// Starts one instance: room first, then the agent, then usable or gone. Owns the calls to start and their answers.
// Does not decide that one is needed (./reconciler.ts for apps, ./on-demand.ts for functions).
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import { newInstanceId, type InstanceId } from '../../base/ids.ts';
import type { Bytes } from '../../base/quantity.ts';
import { functionArn, latestVersion, logGroupOf } from '../../model/lambda.ts';
import { mib } from '../../base/quantity.ts';
import type { Workload } from '../../model/workload.ts';
import type { InstanceSpec } from '../../protocol/agent.ts';
import type { Logger } from '../../sys/log.ts';
import type { Layout } from '../../sys/layout.ts';
import type { AgentLink } from '../agent-link.ts';
import { judgeStart, type Occupant, type Room } from '../capacity.ts';
import type { Tuning } from '../config.ts';
import { instanceEnv, logStreamOf } from '../env.ts';
import type { Measures } from '../measures.ts';
import { KeyedQueue } from '../serial.ts';
import { promisedMemory, type ActualState, type Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { Stopper } from './stopper.ts';

/** The host's free memory moves slowly against a start; a younger figure is not worth a round trip before one. */
const hostFigureMaxAgeMs = 5_000;
/** While waiting for room: look again at least so often, for the host's own memory changes without an event. */
const roomPollMs = 500;

export interface StarterParts {
  readonly link: AgentLink;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly stopper: Stopper;
  readonly layout: Layout;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
  /** Where this Bellows answers, as an instance reaches it. */
  readonly ownUrl: string;
}

export class Starter {
  readonly #parts: StarterParts;
  /** Room is given to one start at a time: what one counts as free, another must not. */
  readonly #admission = new KeyedQueue<'room'>();
  readonly #pending = new Set<InstanceId>();

  constructor(parts: StarterParts) {
    this.#parts = parts;
  }

  /** Whether a start of ours is under way, whose failure is told to whoever began it. */
  isPending(id: InstanceId): boolean {
    return this.#pending.has(id);
  }

  /**
   * Counted as starting from now on; `usable` resolves when it serves.
   * It rejects with StartFailed (the message is JSON of Lambda's payload), LimitReached, NoRoom or Conflict (stopped meanwhile).
   */
  start(
    workload: Workload,
    roomDeadlineMs: number,
  ): { readonly id: InstanceId; readonly usable: Promise<InstanceId> } {
    const spec = this.#specOf(workload);
    this.#parts.actual.set({
      spec,
      life: { phase: 'waiting', known: null },
      idle: false,
      lastUsedMs: this.#parts.clock.nowMs(),
      servingSinceMs: null,
    });
    this.#pending.add(spec.id);
    const usable = this.#run(spec.id, roomDeadlineMs).finally(() => this.#pending.delete(spec.id));
    return { id: spec.id, usable };
  }

  async #run(id: InstanceId, roomDeadlineMs: number): Promise<InstanceId> {
    const { actual, clock } = this.#parts;
    try {
      await this.#waitForRoom(id, roomDeadlineMs);
    } catch (thrown) {
      actual.remove(id, 'it found no room');
      throw thrown;
    }
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
    const call = link.agent.call('start', tracked.spec, { timeoutMs: tuning.startTimeoutMs });
    this.#parts.stopper.startUnderWay(id, call);
    try {
      const result = await call;
      if (result.outcome === 'failed') {
        actual.remove(id, result.error.errorMessage);
        throw new BellowsError('StartFailed', JSON.stringify(result.error));
      }
      const present = actual.get(id);
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
      link.requestSync();
    }
  }

  /** @throws BellowsError Conflict when it was stopped, StartFailed when it went before it served */
  async #untilUsable(id: InstanceId): Promise<Tracked> {
    for (;;) {
      const tracked = this.#present(id);
      if (tracked.life.phase === 'serving') return tracked;
      await this.#parts.actual.nextChange(roomPollMs);
    }
  }

  #present(id: InstanceId): Tracked {
    const tracked = this.#parts.actual.get(id);
    if (tracked === undefined)
      throw startFailed('Runtime.ExitError', 'The instance ended before it could serve.');
    if (tracked.life.phase === 'retiring' || tracked.life.phase === 'stopping') {
      throw new BellowsError('Conflict', `The instance was stopped while it started: ${tracked.life.why}.`);
    }
    return tracked;
  }

  async #waitForRoom(id: InstanceId, deadlineMs: number): Promise<void> {
    for (;;) {
      const verdict = await this.#admission.run('room', () => this.#tryRoom(id));
      if (verdict === 'admitted') return;
      const leftMs = deadlineMs - this.#parts.clock.nowMs();
      if (verdict.final || leftMs <= 0) throw verdict.error;
      await this.#parts.actual.nextChange(Math.min(roomPollMs, leftMs));
    }
  }

  async #tryRoom(
    id: InstanceId,
  ): Promise<'admitted' | { readonly error: BellowsError; readonly final: boolean }> {
    const { actual, desired, stopper } = this.#parts;
    for (;;) {
      const room = await this.#room(id);
      if (room === undefined) {
        return {
          error: new BellowsError(
            'Unavailable',
            'The unit that instances run in can not be reached.',
            'Look into the log; it is restarted by itself.',
          ),
          final: false,
        };
      }
      const tracked = this.#present(id);
      if (tracked.life.phase !== 'waiting') return 'admitted';
      const { spec } = tracked;
      const workload = desired.record(spec.workload);
      const asked =
        workload?.candidate?.generation === spec.generation ? workload.candidate : workload?.current;
      const verdict = judgeStart(
        asked?.request.memory ?? spec.grant.memory,
        spec.tenant,
        occupants(actual),
        room,
      );
      switch (verdict.verdict) {
        case 'fits': {
          const grant = { ...(asked?.request ?? spec.grant), memory: verdict.grantBytes as Bytes };
          actual.set({
            ...tracked,
            spec: { ...spec, grant },
            life: { phase: 'starting', known: null, unanswered: false },
          });
          return 'admitted';
        }
        case 'afterEnding':
          await Promise.all(
            verdict.ids.map((victim) => stopper.retire(victim, 'its memory was needed by another instance')),
          );
          break;
        default: {
          const solve =
            verdict.code === 'LimitReached'
              ? "Raise the tenant's memory limit with `bellows limits set`, or lower what its workloads ask for."
              : 'Remove or shrink workloads, or run Bellows on a machine with more memory.';
          return {
            error: new BellowsError(
              verdict.code,
              `${spec.workload} can not start one more instance: ${verdict.reason}.`,
              solve,
            ),
            final: verdict.verdict === 'never',
          };
        }
      }
    }
  }

  /** Undefined while the unit was never reached. */
  async #room(id: InstanceId): Promise<Room | undefined> {
    const { link, measures, desired, actual, tuning } = this.#parts;
    if (link.hello === null) return undefined;
    const sample = await measures.sample(hostFigureMaxAgeMs).catch(() => measures.last);
    const tenant = actual.get(id)?.spec.tenant;
    return {
      capacityBytes: link.hello.capacity.memory,
      oversubscription: tuning.oversubscription,
      hostAvailableBytes: sample?.host.memoryAvailableBytes ?? null,
      hostReserveBytes: tuning.hostReserveBytes,
      tenantLimitBytes: (tenant === undefined ? undefined : desired.tenant(tenant)?.limits.memory) ?? null,
    };
  }

  #specOf(workload: Workload): InstanceSpec {
    const { desired, layout, clock, ownUrl } = this.#parts;
    const tenant = desired.requireTenant(workload.tenant);
    const id = newInstanceId();
    const logStream = logStreamOf(id, clock.nowMs());
    const isFunction = workload.kind === 'function';
    return {
      id,
      tenant: workload.tenant,
      uid: tenant.uid,
      workload: workload.key,
      generation: workload.generation,
      kind: workload.kind,
      runtime: workload.runtime,
      codeDirectory: layout.codeOf(workload.tenant, workload.codeSha256),
      handler: isFunction ? workload.handler : null,
      start: isFunction ? null : workload.start,
      timeoutMs: isFunction ? workload.timeoutMs : 0,
      env: instanceEnv(workload, { tenant, logStream, ownUrl }),
      network: workload.network,
      grant: workload.request,
      function: isFunction
        ? {
            name: workload.name,
            version: latestVersion,
            arn: functionArn(tenant.accountId, workload.name),
            memoryMb: Math.round(workload.request.memory / mib),
            logGroup: logGroupOf(workload.name),
            logStream,
          }
        : null,
    };
  }
}

function startFailed(errorType: string, errorMessage: string): BellowsError {
  return new BellowsError('StartFailed', JSON.stringify({ errorType, errorMessage, trace: [] }));
}

/** Everything that holds memory, and which of it may be ended for others: functions that are idle. */
function occupants(actual: ActualState): Occupant[] {
  return actual.all().map((tracked) => ({
    id: tracked.spec.id,
    tenant: tracked.spec.tenant,
    memoryBytes: promisedMemory(tracked),
    idleSinceMs:
      tracked.idle && tracked.spec.kind === 'function' && tracked.life.phase === 'serving'
        ? tracked.lastUsedMs
        : null,
  }));
}
