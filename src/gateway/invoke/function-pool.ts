// One function's requests: who is let in, who waits, and which instance takes the next. Everything it does to the world is injected.
// Owns admission, the queue and dispatch. Does not own what instances run and how that ends (instances.ts), the choice of one
// (slots.ts), freezing and starting (reserve.ts), links (links/), or answers (sinks).
import type { CallTrace, WorkloadRoute } from '../../protocol/routes.ts';
import { tuningIn, type InvokeTuning } from '../config.ts';
import type { FunctionConcurrency, Throttled } from './concurrency.ts';
import { Doubtful } from './doubtful.ts';
import type { PoolEffects } from './effects.ts';
import { Instances } from './instances.ts';
import type { Failure, Invocation } from './invocation.ts';
import { Lending } from './lending.ts';
import { WaitingQueue } from './queue.ts';
import { Reserve } from './reserve.ts';
import { Slots } from './slots.ts';

export class FunctionPool {
  #route: WorkloadRoute;
  readonly #effects: PoolEffects;
  readonly #tuning: InvokeTuning;
  readonly #concurrency: FunctionConcurrency;
  readonly #slots: Slots;
  readonly #queue: WaitingQueue<Invocation>;
  readonly #doubtful: Doubtful;
  readonly #reserve: Reserve;
  readonly instances: Instances;
  /** Which of them are this gateway's, where several serve. */
  readonly lending: Lending;
  #recheckTimer: NodeJS.Timeout | undefined;

  constructor(
    route: WorkloadRoute,
    effects: PoolEffects,
    tuning: InvokeTuning,
    concurrency: FunctionConcurrency,
  ) {
    this.#route = route;
    this.#slots = new Slots(route.generation);
    this.#effects = effects;
    this.#tuning = tuning;
    const here = tuningIn(tuning, route.unitKind);
    this.#concurrency = concurrency;
    this.#concurrency.reserved = route.reservedConcurrency;
    this.#queue = new WaitingQueue(tuning);
    this.#doubtful = new Doubtful(effects.hearOthers);
    this.lending = new Lending({ clock: effects.clock, ...effects.lending }, this.#slots, {
      isWaiting: () => this.#queue.size > 0,
      onHere: () => this.#dispatch(),
      thaw: (slot) => this.#reserve.thaw(slot),
    });
    this.#reserve = new Reserve(effects, here, this.lending, {
      onStartFailed: (failure) => this.#startFailed(failure),
      onChange: () => this.#dispatch(),
    });
    const parts = { slots: this.#slots, effects, tuning, concurrency, lending: this.lending };
    this.instances = new Instances(route, parts, {
      onChange: () => this.#dispatch(),
      onAnswered: () => {
        if (this.#queue.size > 0) this.#dispatch();
      },
      onGivenBack: (invocations) => this.#queue.unshift(invocations, effects.clock.monotonicMs()),
      fail: (invocation, failure) => this.#fail(invocation, failure),
    });
  }

  get route(): WorkloadRoute {
    return this.#route;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  get busyInstances(): number {
    return this.instances.busy;
  }

  /** How calls kept instances busy since it was asked last; undefined when none began or ended. */
  takeCalls(): CallTrace | undefined {
    return this.instances.takeCalls();
  }

  /** Whether nothing of ours runs or waits. */
  get quiet(): boolean {
    return this.#concurrency.own === 0 && this.#doubtful.none;
  }

  /** A new limit, time-out or generation; instances of another generation get nothing new. */
  setRoute(route: WorkloadRoute): void {
    this.#route = route;
    this.instances.setRoute(route);
    this.#concurrency.reserved = route.reservedConcurrency;
    this.#dispatch();
  }

  /** Another gateway serves from now on. What is here is finished; whoever still comes waits for a thaw, to be sure. */
  leave(): void {
    this.#reserve.leave();
    this.lending.leave();
    this.instances.leave();
  }

  /** The workload was deleted: whoever waits is told so. */
  close(): void {
    clearTimeout(this.#recheckTimer);
    this.instances.takeBackAll();
    for (const { sink } of this.#doubtful.takeAll()) sink.onFailure({ kind: 'gone' });
    for (const invocation of this.#queue.takeAll()) this.#fail(invocation, { kind: 'gone' });
    this.instances.endAll();
    this.#concurrency.close();
  }

  // ---- requests

  /**
   * Runs it or lets it wait; its sink is told of the end in any case.
   * @returns whether it waits: only then `cancel` can take it back
   */
  submit(invocation: Invocation): 'sent' | 'waiting' | 'refused' {
    if (!this.#concurrency.isFullByOthers) return this.#enter(invocation);
    this.#doubtful.add(invocation, () => this.#enter(invocation));
    return 'waiting';
  }

  #enter(invocation: Invocation): 'sent' | 'waiting' | 'refused' {
    const reason = this.#concurrency.enter();
    if (reason !== undefined) {
      invocation.sink.onFailure(this.#concurrency.throttled(reason));
      return 'refused';
    }
    if (this.#queue.size === 0) {
      const slot = this.#slots.pick(this.#mostAhead());
      if (slot !== undefined) {
        this.instances.send(slot, invocation);
        return 'sent';
      }
    }
    if (!this.#queue.hasRoomFor(invocation)) {
      this.#fail(invocation, this.#concurrency.throttled('FunctionInvocationRateLimitExceeded'));
      return 'refused';
    }
    this.#queue.push(invocation, this.#effects.clock.monotonicMs());
    this.#dispatch();
    return 'waiting';
  }

  /** Why one whose payload has so many bytes would be refused, came it now. */
  refuses(eventBytes: number): Throttled | undefined {
    const reason =
      (this.#concurrency.isFullByOthers ? undefined : this.#concurrency.full) ??
      // Of an empty queue none is refused: an instance may be free, and nothing is longer than what may wait.
      (this.#queue.size === 0 || this.#queue.hasRoomFor({ eventBytes })
        ? undefined
        : 'FunctionInvocationRateLimitExceeded');
    return reason && this.#concurrency.throttled(reason);
  }

  /** The client has left. What an instance has begun is finished all the same, as Lambda does. */
  cancel(invocation: Invocation): boolean {
    if (this.#doubtful.cancel(invocation)) return true;
    const waited = this.#queue.cancel(invocation);
    if (waited) this.#concurrency.leave();
    return waited;
  }

  /** The client of a stream has left: what waits is taken back, and who has begun is told that nobody reads it. */
  abandon(invocation: Invocation): void {
    if (!this.cancel(invocation)) this.#slots.withInFlight(invocation)?.abandon(invocation);
  }

  /** Freezes what has idled long enough and reports it; to be called every so often. */
  sweep(mayFreeze: boolean): void {
    this.lending.sweep(this.#tuning.freezeAfterMs);
    this.#reserve.sweep(this.#slots.all(), mayFreeze);
  }

  // ---- dispatch

  /** How many may be in flight at one instance. */
  #mostAhead(): number {
    return this.instances.times.fitInto(this.#tuning.aheadMaxMs, this.#tuning.pipelineDepth);
  }

  /** Those that wait for an instance, also within one that starts. */
  get #waitingForStarts(): number {
    return this.#queue.size + this.#slots.sentAhead;
  }

  #dispatch(): void {
    while (this.#queue.size > 0) {
      const slot = this.#slots.pick(this.#mostAhead()) ?? this.#slots.pickStarting();
      if (slot === undefined) break;
      const invocation = this.#queue.shift();
      if (invocation === undefined) break;
      this.instances.send(slot, invocation);
    }
    this.lending.settleAll();
    const oldest = this.#queue.peek();
    if (oldest === undefined) return;
    this.#reserve.help(this.#slots.usable(), {
      generation: this.#route.generation,
      waiting: this.#waitingForStarts,
      oldest,
      taken: this.#queue.taken,
      averageMs: this.instances.times.averageMs ?? null,
      cap: this.#concurrency.cap,
    });
    this.#recheckTimer ??= setTimeout(() => this.#recheck(), this.#tuning.recheckMs);
  }

  #recheck(): void {
    this.#recheckTimer = undefined;
    const nowMs = this.#effects.clock.monotonicMs();
    // Where they start now: a function may have moved.
    const { maxWaitMs } = tuningIn(this.#tuning, this.#route.unitKind);
    for (let oldest = this.#queue.peek(); oldest !== undefined; oldest = this.#queue.peek()) {
      if (nowMs - oldest.queuedAtMs < maxWaitMs) break;
      this.#queue.shift();
      this.#fail(
        oldest,
        this.#reserve.whyNone ?? this.#concurrency.throttled('FunctionInvocationRateLimitExceeded'),
      );
    }
    this.#dispatch();
    this.#reserve.settle(this.#waitingForStarts);
  }

  // ---- ends

  #fail(invocation: Invocation, failure: Failure): void {
    this.#concurrency.leave();
    invocation.sink.onFailure(failure);
  }

  /** No instance could be started. Those who have no other instance to hope for are told. */
  #startFailed(failure: Failure): void {
    if (this.#slots.anyServes) return;
    for (const invocation of this.#queue.takeAll()) this.#fail(invocation, failure);
  }
}
