// Room for one more instance: asked for in turn, waited for, made by ending what is idle. Owns the effects of
// ../capacity.ts. Does not start anything (./starter.ts).
import { entitlements } from '../../allocator/credits/entitlement.ts';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId, TenantId } from '../../base/ids.ts';
import type { Bytes } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { Workload } from '../../model/workload.ts';
import type { Logger } from '../../sys/log.ts';
import type { AgentLink } from '../agent-link.ts';
import { judgeStart, leastToStart, type Occupant, type Room, type Verdict } from '../capacity.ts';
import type { Tuning } from '../config.ts';
import type { Measures } from '../measures.ts';
import { memoryRoom } from '../memory-room.ts';
import { KeyedQueue } from '../serial.ts';
import { sparing } from '../spared.ts';
import { promisedMemory, type ActualState, type Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import type { Stopper } from './stopper.ts';

/** The host's free memory moves slowly against a start; a younger figure is not worth a round trip before one. */
const hostFigureMaxAgeMs = 5_000;
/** A trim takes some ten milliseconds, and there may be several; a start has a caller who waits. */
const longestTrimMs = 500;
/** While waiting for room: look again at least so often, for the host's own memory changes without an event. */
const roomPollMs = 500;

export interface AdmissionParts {
  readonly link: AgentLink;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly measures: Measures;
  readonly stopper: Stopper;
  /** What others do not demand. */
  readonly lending: {
    /** What lending leaves an instance. */
    readonly keptBytes: (id: InstanceId) => number;
    /** See `Divider.roomFor` in ../resize/divider.ts. */
    readonly roomFor: (id: InstanceId, leastBytes: number) => Promise<Resources | null>;
  };
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
  /** Memory is wanted for a start that found none: whoever can make room does, at once. */
  readonly roomWanted: (bytes: number, why: string, how: { readonly mayEnd: boolean }) => Promise<void>;
}

type Answer =
  | { readonly admitted: true }
  | { readonly admitted: false; readonly error: BellowsError; readonly final: boolean }
  /** Idle ones would have to end: before that, what they and others do not need is taken back. */
  | { readonly admitted: false; readonly trimsBytes: number; readonly why: string };

export class Admission {
  readonly #parts: AdmissionParts;
  /** Room is given to one start at a time: what one counts as free, another must not. */
  readonly #turn = new KeyedQueue<'room'>();

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  /**
   * Takes an instance from `waiting` to `starting`; returns at once when it left `waiting` otherwise.
   * @throws BellowsError NoRoom or LimitReached at the deadline, or at once when it could never fit; Unavailable without a unit
   */
  async waitForRoom(id: InstanceId, deadlineMs: number): Promise<void> {
    const { actual, clock, link } = this.#parts;
    for (let mayTrim = true; ;) {
      const trimsFirst = mayTrim;
      const answer = await this.#turn.run('room', () => this.#ask(id, trimsFirst));
      if (answer.admitted) return;
      if ('trimsBytes' in answer) {
        mayTrim = false;
        await this.#trim(answer.trimsBytes, answer.why);
        continue;
      }
      const leftMs = deadlineMs - clock.nowMs();
      if (answer.final || leftMs <= 0 || link.closed) throw answer.error;
      await actual.nextChange(Math.min(roomPollMs, leftMs));
    }
  }

  /** Whether one more would be admitted now with all that it asks for, and nobody had to end or shrink for it. */
  async hasRoom({ tenant, request }: Workload): Promise<boolean> {
    const room = await this.#room(tenant);
    if (room === undefined) return false;
    const verdict = judgeStart(
      request.memory,
      tenant,
      occupants(this.#parts.actual.all()),
      room,
      ({ memoryBytes }) => memoryBytes,
    );
    return verdict.verdict === 'fits' && verdict.grantBytes === request.memory;
  }

  /** Not in the turn: others may find room meanwhile. And not for long: to end what is idle is quick, too. */
  async #trim(bytes: number, why: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, longestTrimMs);
    void this.#parts.roomWanted(bytes, why, { mayEnd: false }).finally(resolve);
    await promise;
    clearTimeout(timer);
  }

  /** @param trimsFirst whether memory that is not needed may still be taken back before anybody is ended */
  async #ask(id: InstanceId, trimsFirst: boolean): Promise<Answer> {
    const { actual, desired, lending, clock, tuning } = this.#parts;
    const room = await this.#room(actual.get(id)?.spec.tenant);
    const tracked = actual.get(id);
    if (tracked?.life.phase !== 'waiting') return { admitted: true };
    if (room === undefined) return { admitted: false, error: unreachable(), final: false };
    const { spec } = tracked;
    const record = desired.record(spec.workload);
    const workload = record?.candidate?.generation === spec.generation ? record.candidate : record?.current;
    const request = workload?.request ?? spec.grant;
    const judge = (others: readonly Occupant[]): Verdict =>
      judgeStart(request.memory, spec.tenant, others, room, ({ id: other }) => lending.keptBytes(other));
    const others = occupants(actual.all());
    let verdict = judge(others);
    // Whom to spare matters only where somebody would be ended: most starts find room.
    if (verdict.verdict === 'afterEnding') {
      const start = {
        tenant: spec.tenant,
        askedBytes: request.memory,
        entitled: this.#entitled(spec.tenant, room),
        nowMs: clock.nowMs(),
        restMs: tuning.reclaimIdleMs,
      };
      verdict = judge(sparing(others, start));
    }
    if (verdict.verdict === 'fits') {
      this.#admit(tracked, { ...request, memory: verdict.grantBytes as Bytes }, request.memory);
      return { admitted: true };
    }
    if (verdict.verdict === 'afterLending') {
      const grant = await lending.roomFor(id, leastToStart(request.memory));
      const present = actual.get(id);
      if (present?.life.phase !== 'waiting') return { admitted: true };
      if (grant !== null) {
        this.#admit(present, grant, request.memory);
        return { admitted: true };
      }
    }
    const why = `${spec.workload} found no room to start`;
    if (verdict.verdict === 'afterEnding') {
      // A tenant's own limit is nobody else's matter.
      if (trimsFirst && !isOwnLimit(spec.tenant, request.memory, actual, room))
        return { admitted: false, trimsBytes: request.memory, why };
      this.#end(verdict.ids);
    } else if (verdict.verdict === 'afterLending') {
      // What is lent is on its way, or needs garbage to go first. Who would be ended for it lends enough while it lives; where it
      // turns out to need more than was measured, the next verdict says so.
      void this.#parts.roomWanted(request.memory, why, { mayEnd: false });
    } else if (verdict.verdict === 'wait' && verdict.code === 'NoRoom')
      void this.#parts.roomWanted(request.memory, why, { mayEnd: true });
    return { admitted: false, error: refusal(tracked, verdict), final: verdict.verdict === 'never' };
  }

  /** What is whose, among those that have something or ask for it. */
  #entitled(asking: TenantId, { capacityBytes, oversubscription }: Room): ReadonlyMap<TenantId, number> {
    const { actual, desired } = this.#parts;
    const here = new Set([asking, ...actual.all().map(({ spec }) => spec.tenant)]);
    return entitlements(
      Math.floor(capacityBytes * oversubscription),
      [...here].flatMap((id) => {
        const tenant = desired.tenant(id);
        return tenant === undefined
          ? []
          : [{ tenant: id, weight: tenant.weight, limit: tenant.limits.memory }];
      }),
    );
  }

  #admit(tracked: Tracked, grant: Resources, requestedBytes: Bytes): void {
    const requested = requestedBytes > grant.memory ? { memory: requestedBytes } : undefined;
    this.#parts.actual.set({
      ...tracked,
      spec: { ...tracked.spec, grant, requested },
      life: { phase: 'starting', known: null, unanswered: false, reachable: null },
    });
  }

  /** Not waited for here: what turns out to be in use ends when it is done, and others may ask for room meanwhile. */
  #end(ids: readonly InstanceId[]): void {
    const { stopper, log } = this.#parts;
    for (const id of ids) {
      stopper
        .retire(id, 'its memory was needed by another instance')
        .catch((thrown: unknown) =>
          log.error({ err: thrown, instance: id }, 'an idle instance could not be retired'),
        );
    }
  }

  /** Undefined while the unit was never reached. */
  async #room(tenant: TenantId | undefined): Promise<Room | undefined> {
    const { link, measures, desired, tuning } = this.#parts;
    if (link.hello === null) return undefined;
    const sample = await measures.sample(hostFigureMaxAgeMs).catch(() => measures.last);
    return {
      ...memoryRoom(link.hello.capacity.memory, tuning),
      hostAvailableBytes: sample?.host.memoryAvailableBytes ?? null,
      hostReserveBytes: tuning.hostReserveBytes,
      tenantLimitBytes: (tenant === undefined ? undefined : desired.tenant(tenant)?.limits.memory) ?? null,
    };
  }
}

function isOwnLimit(
  tenant: TenantId,
  askedBytes: number,
  actual: ActualState,
  { tenantLimitBytes }: Room,
): boolean {
  if (tenantLimitBytes === null) return false;
  const own = actual.ofTenant(tenant).reduce((sum, tracked) => sum + promisedMemory(tracked), 0);
  return own + askedBytes > tenantLimitBytes;
}

function unreachable(): BellowsError {
  return new BellowsError(
    'Unavailable',
    'The unit that instances run in can not be reached.',
    'Look into the log; it is restarted by itself.',
  );
}

function refusal({ spec }: Tracked, verdict: Exclude<Verdict, { verdict: 'fits' }>): BellowsError {
  if (verdict.verdict === 'afterLending')
    return new BellowsError(
      'NoRoom',
      `${spec.workload} waits for memory that others do not need now.`,
      'Try again.',
    );
  if (verdict.verdict === 'afterEnding')
    return new BellowsError('NoRoom', `${spec.workload} waits for idle instances to end.`, 'Try again.');
  const solve =
    verdict.code === 'LimitReached'
      ? "Raise the tenant's memory limit with `bellows limits set`, or lower what its workloads ask for."
      : 'Remove or shrink workloads, or run Bellows on a machine with more memory.';
  return new BellowsError(
    verdict.code,
    `${spec.workload} can not start one more instance: ${verdict.reason}.`,
    solve,
  );
}

/** Everything that holds memory, and which of it may be ended for others: functions that are idle. */
function occupants(instances: readonly Tracked[]): Occupant[] {
  return instances.map((tracked) => {
    const { spec, life, idle, lastUsedMs } = tracked;
    const mayEnd = idle && spec.kind === 'function' && life.phase === 'serving';
    return {
      id: spec.id,
      tenant: spec.tenant,
      memoryBytes: promisedMemory(tracked),
      idleSinceMs: mayEnd ? lastUsedMs : null,
      leaving: life.phase === 'retiring' || life.phase === 'stopping',
    };
  });
}
