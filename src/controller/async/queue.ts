// Asynchronous invocations: durable from the moment they are accepted until they succeeded or were reported as failed.
// Owns the queue in the store and its dispatching. An entry is removed only after its outcome is known, so that a
// crash between any two steps repeats an attempt and loses none: at least once, as in Lambda.
import type { Clock } from '../../base/clock.ts';
import { BellowsError, messageOf } from '../../base/errors.ts';
import type { TenantId, WorkloadKey } from '../../base/ids.ts';
import type { FunctionWorkload } from '../../model/workload.ts';
import type { Store } from '../../store/port.ts';
import type { Logger } from '../../sys/log.ts';
import type { AuditLog } from '../audit.ts';
import type { Tuning } from '../config.ts';
import type { Gateways } from '../routes/gateways.ts';
import type { DesiredState } from '../state/desired.ts';
import { keys } from '../state/records.ts';
import { Counts } from './counts.ts';
import { afterAttempt, type Outcome, type Progress } from './retry.ts';

export interface QueuedEvent extends Progress {
  readonly workload: WorkloadKey;
  readonly tenant: TenantId;
  readonly requestId: string;
  readonly event: string;
  readonly clientContext: string;
  readonly notBeforeMs: number;
}

/** What is held in memory of an entry: all but the payload. */
interface Waiting {
  readonly requestId: string;
  readonly workload: WorkloadKey;
  readonly tenant: TenantId;
  readonly notBeforeMs: number;
  /** Of the last attempts: more than none, and it waits for room rather than for a function to recover. */
  readonly throttles: number;
}

/** Attempts under way: in all, and of one function, so that a slow one does not hold up the others. */
const atOnce = { all: 64, perFunction: 16 } as const;
/** Accepted and not yet done, of one tenant: beyond it the disk would pay for a function that can not keep up. */
const maxQueuedPerTenant = 100_000;
/** The gateway answers at the function's timeout; waiting for an instance comes before it. */
const attemptMarginMs = 60_000;
/** Entries read at once at start: their payloads, up to 1 MB each, are dropped again. */
const loadPage = 50;
/** setTimeout's limit is 2^31 ms; looking once an hour costs nothing. */
const longestSleepMs = 3_600_000;

export interface AsyncQueueParts {
  readonly store: Store;
  readonly desired: DesiredState;
  readonly gateways: Pick<Gateways, 'invoke'>;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
}

export class AsyncQueue {
  readonly #parts: AsyncQueueParts;
  /** By function, each in the order of acceptance; a retry goes to the end. */
  readonly #waiting = new Map<WorkloadKey, Map<string, Waiting>>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #runningOf = new Counts<WorkloadKey>();
  readonly #runningOfTenant = new Counts<TenantId>();
  readonly #queuedOf = new Counts<TenantId>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: AsyncQueueParts) {
    this.#parts = parts;
  }

  /** Takes up what an earlier controller had accepted. */
  async load(): Promise<void> {
    let after: string | undefined;
    for (;;) {
      const page = await this.#parts.store.list<QueuedEvent>(keys.queue, {
        limit: loadPage,
        ...(after === undefined ? {} : { after }),
      });
      for (const { value } of page) this.#note(value);
      after = page.at(-1)?.key;
      if (page.length < loadPage) return;
    }
  }

  /** Accepted, durably, when it resolves. @throws BellowsError LimitReached when the tenant's queue is full */
  async enqueue(
    workload: FunctionWorkload,
    requestId: string,
    event: string,
    clientContext: string,
  ): Promise<void> {
    if (this.#queuedOf.of(workload.tenant) >= maxQueuedPerTenant) {
      throw new BellowsError(
        'LimitReached',
        `Tenant ${workload.tenant} has ${maxQueuedPerTenant} asynchronous invocations waiting.`,
        'Call less often, or raise concurrency so that they are worked off.',
      );
    }
    const nowMs = this.#parts.clock.nowMs();
    const entry: QueuedEvent = {
      workload: workload.key,
      tenant: workload.tenant,
      requestId,
      event,
      clientContext,
      enqueuedAtMs: nowMs,
      notBeforeMs: nowMs,
      failures: 0,
      throttles: 0,
    };
    try {
      await this.#parts.store.put(keys.queued(requestId), entry, { expect: 0 });
    } catch (thrown) {
      // The same request again, whose first answer was lost: it is in the queue.
      if (thrown instanceof BellowsError && thrown.code === 'Conflict') return;
      throw thrown;
    }
    this.#note(entry);
    this.dispatch();
  }

  /** Starts what is due, within the bounds, oldest first. */
  dispatch(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    const nowMs = this.#parts.clock.nowMs();
    let nextMs = Number.POSITIVE_INFINITY;
    this.#rotate();
    for (const entries of this.#waiting.values()) {
      for (const entry of entries.values()) {
        if (this.#running.size >= atOnce.all) return;
        if (!this.#mayBegin(entry)) break;
        if (entry.notBeforeMs > nowMs) nextMs = Math.min(nextMs, entry.notBeforeMs);
        else this.#begin(entry);
      }
    }
    if (nextMs < Number.POSITIVE_INFINITY) {
      this.#timer = setTimeout(() => this.dispatch(), Math.min(Math.max(1, nextMs - nowMs), longestSleepMs));
    }
  }

  /** Attempts under way are left to the gateway; their entries stay and are tried again by the next controller. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** Limits of a tenant have changed: what it waits for because of them need not wait longer. */
  retryThrottled(tenant: TenantId): void {
    for (const entries of this.#waiting.values()) {
      for (const entry of entries.values()) {
        if (entry.tenant === tenant && entry.throttles > 0)
          entries.set(entry.requestId, { ...entry, notBeforeMs: 0 });
      }
    }
    this.dispatch();
  }

  /** No more at once than may run: every one beyond that would be refused, and wait longer each time. */
  #mayBegin({ workload: key, tenant }: Waiting): boolean {
    const { desired } = this.#parts;
    const workload = desired.workload(key);
    const reserved = workload?.kind === 'function' ? workload.reservedConcurrency : null;
    const limit = desired.tenant(tenant)?.limits.concurrency ?? null;
    // One is tried in any case: it finds out when there is room, or grows too old.
    return (
      this.#runningOf.of(key) < Math.max(1, Math.min(atOnce.perFunction, reserved ?? atOnce.perFunction)) &&
      this.#runningOfTenant.of(tenant) < Math.max(1, limit ?? atOnce.all)
    );
  }

  /** Another function is first each time: a few with long queues must not take every place for ever. */
  #rotate(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    this.#waiting.delete(first[0]);
    this.#waiting.set(first[0], first[1]);
  }

  #note(entry: Waiting): void {
    const { requestId, workload, tenant, notBeforeMs, throttles } = entry;
    const entries = this.#waiting.get(workload) ?? new Map<string, Waiting>();
    entries.set(requestId, { requestId, workload, tenant, notBeforeMs, throttles });
    this.#waiting.set(workload, entries);
    this.#queuedOf.add(tenant, 1);
  }

  #begin(entry: Waiting): void {
    const entries = this.#waiting.get(entry.workload);
    entries?.delete(entry.requestId);
    if (entries?.size === 0) this.#waiting.delete(entry.workload);
    this.#runningOf.add(entry.workload, 1);
    this.#runningOfTenant.add(entry.tenant, 1);
    const attempt = this.#attempt(entry)
      .catch((thrown: unknown) => {
        if (this.#closed) return;
        this.#parts.log.error(
          { err: thrown, requestId: entry.requestId },
          'an asynchronous invocation could not be worked on',
        );
        this.#note({
          ...entry,
          notBeforeMs: this.#parts.clock.nowMs() + this.#parts.tuning.asyncThrottleFirstMs,
        });
      })
      .finally(() => {
        this.#running.delete(entry.requestId);
        this.#runningOf.add(entry.workload, -1);
        this.#runningOfTenant.add(entry.tenant, -1);
        this.#queuedOf.add(entry.tenant, -1);
        this.dispatch();
      });
    this.#running.set(entry.requestId, attempt);
  }

  async #attempt({ requestId }: Waiting): Promise<void> {
    const { store, desired, clock, tuning } = this.#parts;
    const stored = await store.get<QueuedEvent>(keys.queued(requestId));
    if (stored === undefined || this.#closed) return;
    const entry = stored.value;
    const workload = desired.workload(entry.workload);
    if (workload?.kind !== 'function') return this.#fail(entry, 'the function was removed', '');
    if (clock.nowMs() - entry.enqueuedAtMs > tuning.asyncMaxAgeMs)
      return this.#fail(entry, 'it is too old', '');
    const { outcome, payload } = await this.#invoke(workload, entry);
    if (this.#closed) return;
    const next = afterAttempt(entry, outcome, workload.maxRetries, clock.nowMs(), tuning);
    switch (next.next) {
      case 'done':
        await store.delete(keys.queued(requestId));
        return;
      case 'later': {
        const later: QueuedEvent = { ...entry, ...next.progress, notBeforeMs: next.notBeforeMs };
        await store.put(keys.queued(requestId), later);
        this.#note(later);
        return;
      }
      case 'failed':
        return this.#fail(entry, next.reason, payload);
    }
  }

  async #invoke(
    workload: FunctionWorkload,
    entry: QueuedEvent,
  ): Promise<{ outcome: Outcome; payload: string }> {
    const { workload: key, requestId, event, clientContext } = entry;
    try {
      return await this.#parts.gateways.invoke(
        { workload: key, requestId, event, clientContext },
        workload.timeoutMs + attemptMarginMs,
      );
    } catch (thrown) {
      // The gateway went away: whether the function ran is not known, so it runs again.
      return { outcome: 'unavailable', payload: messageOf(thrown) };
    }
  }

  /** Reported before it is removed: a crash in between reports it twice rather than never. */
  async #fail(entry: QueuedEvent, reason: string, payload: string): Promise<void> {
    const { audit, store } = this.#parts;
    audit.note({
      type: 'async.failed',
      tenant: entry.tenant,
      workload: entry.workload,
      message: `An asynchronous invocation of ${entry.workload} was given up: ${reason}.`,
      data: {
        requestId: entry.requestId,
        eventBytes: Buffer.byteLength(entry.event),
        failures: entry.failures,
        enqueuedAtMs: entry.enqueuedAtMs,
        reason,
        // Lambda's error payloads are small; a function may return anything.
        error: payload.slice(0, 2_000),
      },
    });
    await audit.flush();
    await store.delete(keys.queued(entry.requestId));
  }
}
