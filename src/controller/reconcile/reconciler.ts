// Makes what runs equal to what is wanted, one workload at a time, asked again after everything that happens.
// Owns the effects of ./plan.ts, crash back-off and the outcome of deployments. Level-triggered: it needs no event
// to be delivered, only to be asked once more.
import type { Clock } from '../../base/clock.ts';
import { BellowsError, messageOf } from '../../base/errors.ts';
import type { TenantId, WorkloadKey } from '../../base/ids.ts';
import type { Workload } from '../../model/workload.ts';
import type { Logger } from '../../sys/log.ts';
import type { AgentLink } from '../agent-link.ts';
import type { AuditLog } from '../audit.ts';
import type { AppRestart } from '../control-plane.ts';
import { startTimeoutIn, type Tuning } from '../config.ts';
import { KeyedQueue } from '../serial.ts';
import { unitKindOf, type ActualState, type Change, type Tracked } from '../state/actual.ts';
import type { DesiredState } from '../state/desired.ts';
import { afterExit, noBackoff, type Failing, type NextStart } from './backoff.ts';
import { nextStartText, reasonOf } from './event-text.ts';
import { planWorkload } from './plan.ts';
import type { Starter } from './starter.ts';
import type { Stopper } from './stopper.ts';
import type { Successors } from './successors.ts';

export interface ReconcilerParts {
  readonly link: Pick<AgentLink, 'hello'>;
  readonly desired: DesiredState;
  readonly actual: ActualState;
  readonly starter: Starter;
  readonly stopper: Stopper;
  readonly successors: Pick<Successors, 'has'>;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
  /** What clients see of a workload changed. */
  readonly onPromoted: (workload: Workload) => void;
}

interface Waiter {
  readonly generation: string;
  readonly resolve: (workload: Workload) => void;
  readonly reject: (error: Error) => void;
}

export class Reconciler {
  readonly #parts: ReconcilerParts;
  readonly #queue = new KeyedQueue<WorkloadKey>();
  readonly #dirty = new Set<WorkloadKey>();
  readonly #backoffs = new Map<WorkloadKey, Failing>();
  readonly #timers = new Map<WorkloadKey, NodeJS.Timeout>();
  readonly #waiters = new Map<WorkloadKey, Waiter>();
  readonly #unsubscribe: () => void;
  #closed = false;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.actual.onChange((change) => this.#onChange(change));
  }

  /** Looks at one workload soon, once however often it is asked before it does. */
  kick(key: WorkloadKey): void {
    if (this.#closed || this.#dirty.has(key)) return;
    this.#dirty.add(key);
    void this.#queue
      .run(key, () => {
        this.#dirty.delete(key);
        return this.#pass(key);
      })
      .catch((thrown: unknown) =>
        this.#parts.log.error({ err: thrown, workload: key }, 'reconciling failed'),
      );
  }

  kickAll(): void {
    const { desired, actual } = this.#parts;
    for (const key of new Set([...desired.keys(), ...actual.all().map(({ spec }) => spec.workload)]))
      this.kick(key);
  }

  /** Resolves when the candidate of this generation became current; rejects when it could not, or another took its place. */
  untilDeployed(key: WorkloadKey, generation: string): Promise<Workload> {
    this.#waiters
      .get(key)
      ?.reject(new BellowsError('Conflict', `A later deployment of ${key} took this one's place.`));
    return new Promise((resolve, reject) => {
      this.#waiters.set(key, { generation, resolve, reject });
    });
  }

  /** Forgets a removed workload; whoever waits for its deployment is told. */
  forget(key: WorkloadKey): void {
    this.#backoffs.delete(key);
    this.#waiters
      .get(key)
      ?.reject(new BellowsError('Conflict', `${key} was removed while it was being deployed.`));
    this.#waiters.delete(key);
  }

  /** A person's change gives a crashing app a new chance at once. */
  resetBackoff(key: WorkloadKey): void {
    this.#backoffs.delete(key);
  }

  /** What is tried for an app whose instances fail; null when as many serve as should, or none has failed. */
  restartOf(key: WorkloadKey): AppRestart | null {
    const { desired, actual } = this.#parts;
    const failing = this.#backoffs.get(key);
    const workload = desired.workload(key);
    if (failing === undefined || workload?.kind !== 'app') return null;
    const serving = actual.ofWorkload(key).filter(({ life }) => life.phase === 'serving').length;
    if (serving >= workload.scale) return null;
    const { failures, reason, notBeforeMs } = failing;
    return { failures, reason, nextStartAtMs: notBeforeMs };
  }

  /** Ends adopted instances that never became usable: nobody waits for their start any more. */
  tick(): void {
    const { actual, starter, stopper, clock, log, tuning } = this.#parts;
    for (const tracked of actual.all()) {
      const { spec, life, lastUsedMs } = tracked;
      const timeoutMs = startTimeoutIn(spec.unitKind ?? unitKindOf(tracked), tuning);
      const isLate = life.phase === 'starting' && clock.nowMs() - lastUsedMs > timeoutMs;
      if (!isLate || starter.isPending(spec.id)) continue;
      const why = 'it did not become usable in time';
      this.#failed(spec.workload, spec.tenant, spec.generation, 0, exitError(why));
      stopper
        .stop(spec.id, why)
        .catch((thrown: unknown) => log.error({ err: thrown, instance: spec.id }, 'it could not be stopped'));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    await this.#queue.idle();
  }

  async #pass(key: WorkloadKey): Promise<void> {
    const { link, desired, actual, starter, stopper, successors, clock, log } = this.#parts;
    // Before the agent has been looked at, an instance may run that is not known yet: starting another would double it.
    if (this.#closed || link.hello === null) return;
    const record = desired.record(key);
    const plan = planWorkload(
      record,
      actual.ofWorkload(key).filter(({ spec }) => !successors.has(spec)),
      this.#backoffs.get(key) ?? noBackoff,
      clock.nowMs(),
    );
    for (const { id, why } of plan.retire) {
      stopper
        .retire(id, why)
        .catch((thrown: unknown) =>
          log.error({ err: thrown, instance: id }, 'an instance could not be retired'),
        );
    }
    for (const workload of plan.start) {
      const { id, usable } = starter.start(workload, clock.nowMs() + starter.startTimeoutMs(workload));
      usable.catch((thrown: unknown) => this.#startFailed(workload, id, thrown));
    }
    const candidate = record?.candidate ?? null;
    if (plan.promote && candidate !== null) await this.#promote(key, candidate.generation);
    clearTimeout(this.#timers.get(key));
    if (plan.wakeAtMs !== null) {
      this.#timers.set(
        key,
        setTimeout(() => this.kick(key), Math.max(1, plan.wakeAtMs - clock.nowMs())),
      );
    } else this.#timers.delete(key);
  }

  async #promote(key: WorkloadKey, generation: string): Promise<void> {
    const record = await this.#parts.desired.putRecord(key, (present) =>
      present?.candidate?.generation === generation
        ? { current: present.candidate, candidate: null }
        : present,
    );
    if (record?.current?.generation !== generation) return;
    this.#backoffs.delete(key);
    this.#parts.onPromoted(record.current);
    this.#settle(key, generation, (waiter) => waiter.resolve(record.current as Workload));
    this.kick(key);
  }

  #settle(key: WorkloadKey, generation: string, tell: (waiter: Waiter) => void): void {
    const waiter = this.#waiters.get(key);
    if (waiter?.generation !== generation) return;
    this.#waiters.delete(key);
    tell(waiter);
  }

  #onChange(change: Change): void {
    const { tracked } = change;
    const key = tracked.spec.workload;
    if (change.type === 'gone') {
      const { phase } = tracked.life;
      const unexpected = phase === 'serving' || phase === 'starting';
      const pending = this.#parts.starter.isPending(tracked.spec.id);
      // Its failure is on the way, and what follows from it: looked at before, the same start would be tried again.
      if (pending && tracked.spec.kind === 'app') return;
      if (unexpected && !pending) this.#ended(tracked, change.why, change.oomKilled);
      this.kick(key);
      return;
    }
    if (change.before?.life.phase !== tracked.life.phase || this.#lostItsLast(change)) this.kick(key);
  }

  /** One that stays for its connections alone has none any more. */
  #lostItsLast({ tracked, before }: Extract<Change, { readonly type: 'changed' }>): boolean {
    const openIn = ({ life }: Tracked): number => life.known?.info.connections.open ?? 0;
    if (before === undefined || openIn(before) === 0 || openIn(tracked) > 0) return false;
    return this.#parts.desired.workload(tracked.spec.workload)?.generation !== tracked.spec.generation;
  }

  /** An instance that should run ended by itself. */
  #ended(tracked: Tracked, why: string, oomKilled: boolean): void {
    const { audit, clock } = this.#parts;
    const { spec } = tracked;
    const ranMs = tracked.servingSinceMs === null ? 0 : clock.nowMs() - tracked.servingSinceMs;
    const error = exitError(why);
    const again =
      spec.kind === 'app' ? this.#failed(spec.workload, spec.tenant, spec.generation, ranMs, error) : null;
    audit.note({
      type: 'instance.exited',
      tenant: spec.tenant,
      workload: spec.workload,
      instance: spec.id,
      message: `${spec.workload} ended: ${why}.${nextStartText(again)}`,
      data: {
        reason: why,
        oomKilled,
        ranMs,
        connections: tracked.life.known?.info.connections.open ?? 0,
        ...(again === null ? {} : { startsAgainInMs: again.inMs, failuresInARow: again.failures }),
      },
    });
  }

  #startFailed(workload: Workload, instance: string, thrown: unknown): void {
    if (this.#closed) return;
    const error =
      thrown instanceof BellowsError
        ? thrown
        : new BellowsError('Internal', messageOf(thrown), undefined, { cause: thrown });
    if (error.code === 'Internal')
      this.#parts.log.error({ err: thrown, instance }, 'a start went wrong inside Bellows');
    // Stopped by ourselves: nothing failed.
    if (error.code === 'Conflict') return this.kick(workload.key);
    const again = this.#failed(workload.key, workload.tenant, workload.generation, 0, error);
    this.#parts.audit.note({
      type: 'instance.startFailed',
      tenant: workload.tenant,
      workload: workload.key,
      message: `${workload.key} could not be started: ${reasonOf(error)}${nextStartText(workload.kind === 'app' ? again : null)}`,
      data: { code: error.code, error: error.message, generation: workload.generation },
    });
  }

  /** When it is started again, null when it is not: a deployment that failed is taken back. */
  #failed(
    key: WorkloadKey,
    tenant: TenantId,
    generation: string,
    ranMs: number,
    error: BellowsError,
  ): NextStart | null {
    const { desired, clock, tuning, log } = this.#parts;
    if (desired.record(key)?.candidate?.generation === generation) {
      this.#dropCandidate(key, tenant, generation, error).catch((thrown: unknown) =>
        log.error({ err: thrown, workload: key }, 'a failed deployment could not be taken back'),
      );
      return null;
    }
    if (desired.workload(key)?.generation !== generation) {
      this.kick(key);
      return null;
    }
    const nowMs = clock.nowMs();
    const backoff = afterExit(this.#backoffs.get(key) ?? noBackoff, ranMs, nowMs, tuning);
    this.#backoffs.set(key, { ...backoff, reason: reasonOf(error) });
    this.kick(key);
    return { inMs: backoff.notBeforeMs - nowMs, failures: backoff.failures };
  }

  async #dropCandidate(
    key: WorkloadKey,
    tenant: TenantId,
    generation: string,
    error: BellowsError,
  ): Promise<void> {
    await this.#parts.desired.putRecord(key, (present) => {
      if (present?.candidate?.generation !== generation) return present;
      return present.current === null ? undefined : { current: present.current, candidate: null };
    });
    this.#parts.audit.note({
      type: 'deploy.failed',
      tenant,
      workload: key,
      message: `The deployment of ${key} failed; what served before serves on: ${reasonOf(error)}`,
      data: { generation, code: error.code, error: error.message },
    });
    this.#settle(key, generation, (waiter) => waiter.reject(error));
    this.kick(key);
  }
}

function exitError(why: string): BellowsError {
  return new BellowsError(
    'StartFailed',
    JSON.stringify({ errorType: 'Runtime.ExitError', errorMessage: why, trace: [] }),
  );
}
