// The instances of one function and the requests that wait for them: who runs what, in which order, and what
// becomes of it when an instance is slow, dies or is frozen. Everything it does to the world is injected.
// Owns dispatch, queueing and time-outs. Does not own the choice of an instance (slots.ts), links (links/), freezing and
// starting (reserve.ts), what a death or a time-out is answered (deaths.ts), or answers (sinks).
import type { Frame } from '../../base/frame.ts';
import type { InstanceId } from '../../base/ids.ts';
import { decodeElsewhere, decodeResult, frameType, outcome } from '../../protocol/instance.ts';
import type { CallTrace, WorkloadRoute } from '../../protocol/routes.ts';
import type { InvokeTuning } from '../config.ts';
import { BusyTrace } from './busy-trace.ts';
import type { FunctionConcurrency, Throttled } from './concurrency.ts';
import { Deaths } from './deaths.ts';
import { Doubtful } from './doubtful.ts';
import type { PoolEffects } from './effects.ts';
import type { Failure, Invocation } from './invocation.ts';
import { Lending } from './lending.ts';
import type { Death } from './payloads.ts';
import { WaitingQueue } from './queue.ts';
import { Reserve } from './reserve.ts';
import { ServiceTimes } from './service-times.ts';
import { Slot, type NewInstance, type SlotLink } from './slot.ts';
import { Slots } from './slots.ts';

export class FunctionPool {
  #route: WorkloadRoute;
  readonly #effects: PoolEffects;
  readonly #tuning: InvokeTuning;
  readonly #concurrency: FunctionConcurrency;
  readonly #slots: Slots;
  readonly #queue: WaitingQueue<Invocation>;
  readonly #doubtful: Doubtful;
  readonly #times = new ServiceTimes();
  readonly #trace: BusyTrace;
  readonly #reserve: Reserve;
  readonly #deaths: Deaths;
  /** Which of them are this gateway's, where several serve. */
  readonly lending: Lending;
  #recheckTimer: NodeJS.Timeout | undefined;
  #leaving = false;

  constructor(
    route: WorkloadRoute,
    effects: PoolEffects,
    tuning: InvokeTuning,
    concurrency: FunctionConcurrency,
  ) {
    this.#route = route;
    this.#slots = new Slots(route.generation);
    this.#effects = effects;
    this.#trace = new BusyTrace(effects.clock);
    this.#tuning = tuning;
    this.#concurrency = concurrency;
    this.#concurrency.reserved = route.reservedConcurrency;
    this.#queue = new WaitingQueue(tuning);
    this.#doubtful = new Doubtful(effects.hearOthers);
    this.#deaths = new Deaths(effects, tuning, (invocation, failure) => this.#fail(invocation, failure));
    this.lending = new Lending({ clock: effects.clock, ...effects.lending }, this.#slots, {
      isWaiting: () => this.#queue.size > 0,
      onHere: () => this.#dispatch(),
      thaw: (slot) => this.#reserve.thaw(slot),
    });
    this.#reserve = new Reserve(effects, tuning, this.lending, {
      onStartFailed: (failure) => this.#startFailed(failure),
      onChange: () => this.#dispatch(),
    });
  }

  get route(): WorkloadRoute {
    return this.#route;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  get busyInstances(): number {
    return this.#trace.busy;
  }

  /** How calls kept instances busy since it was asked last; undefined when none began or ended. */
  takeCalls(): CallTrace | undefined {
    return this.#trace.take();
  }

  /** Whether nothing of ours runs or waits. */
  get quiet(): boolean {
    return this.#concurrency.own === 0 && this.#doubtful.none;
  }

  /** A new limit, time-out or generation; instances of another generation get nothing new. */
  setRoute(route: WorkloadRoute): void {
    if (route.generation !== this.#route.generation) this.#times.renew();
    this.#route = route;
    this.#slots.generation = route.generation;
    this.#concurrency.reserved = route.reservedConcurrency;
    this.#dispatch();
  }

  /** Another gateway serves from now on. What is here is finished; whoever still comes waits for a thaw, to be sure. */
  leave(): void {
    this.#leaving = true;
    this.#reserve.leave();
    this.lending.leave();
    for (const slot of this.#slots.all()) this.#rest(slot);
  }

  /** The workload was deleted: whoever waits is told so. */
  close(): void {
    clearTimeout(this.#recheckTimer);
    for (const slot of this.#slots.all()) if (slot.state === 'starting') this.#takeBack(slot);
    for (const { sink } of this.#doubtful.takeAll()) sink.onFailure({ kind: 'gone' });
    for (const invocation of this.#queue.takeAll()) this.#fail(invocation, { kind: 'gone' });
    for (const id of this.#slots.ids()) this.instanceGone(id, { reason: 'signal: killed', oomKilled: false });
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
        this.#send(slot, invocation);
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

  // ---- instances

  addInstance(instance: NewInstance, link: SlotLink): void {
    const slot = new Slot(instance, link, this.#effects.clock.monotonicMs());
    this.#slots.add(slot);
    this.lending.added(slot);
  }

  /** Whether it says a word at once when its link is open: one that loads or is frozen can not. */
  speaks(id: InstanceId): boolean {
    const slot = this.#slots.get(id);
    return slot !== undefined && slot.serves && !slot.frozenBelow;
  }

  /** Its link is open. @param silent it should have said something and has not: it may have been frozen meanwhile */
  linkOpened(id: InstanceId, silent = false): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.state !== 'connecting') return;
    if (silent) slot.frozenBelow = true;
    slot.state = slot.frozenBelow ? 'frozen' : slot.serves ? 'ready' : 'starting';
    slot.idleSinceMs = this.#effects.clock.monotonicMs();
    this.#rest(slot);
    this.#dispatch();
  }

  /** It says, or the controller does, that its code is loaded: it begins with what was sent ahead. */
  instanceServes(id: InstanceId): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.serves) return;
    slot.serves = true;
    if (slot.state !== 'starting') return;
    slot.state = 'ready';
    clearTimeout(slot.timer);
    slot.timer = undefined;
    slot.idleSinceMs = this.#effects.clock.monotonicMs();
    if (slot.inflight.length > 0) this.#headStarts(slot);
    if (slot.death === undefined) this.#dispatch();
    else this.instanceGone(id, slot.death);
  }

  /** Its link broke. Whoever had something in flight can not be trusted again: its state is unknown. */
  linkLost(id: InstanceId): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.state === 'ended') return;
    // The next link is told anew.
    this.#setElsewhere(slot, 0);
    // All that it sent was read, and that it begins was not among it.
    if (slot.state === 'starting') this.#takeBack(slot);
    if (slot.death !== undefined) {
      this.instanceGone(id, slot.death);
      return;
    }
    if (slot.inflight.length === 0) {
      slot.frozenBelow = slot.state === 'freezing' || slot.state === 'frozen' || slot.state === 'thawing';
      slot.state = 'connecting';
      this.#dispatch();
      return;
    }
    const head = this.#end(slot);
    if (head === undefined) return;
    this.#deaths.linkBroke(id, { invocation: head, ranMs: this.#ranMs(slot) });
    this.#dispatch();
  }

  /** The controller says that it ended, and why. */
  instanceGone(id: InstanceId, death: Death): void {
    this.#deaths.reasonKnown(id, death);
    const slot = this.#slots.get(id);
    if (slot?.state === 'starting' && slot.inflight.length > 0) {
      this.#awaitLinkEnd(slot, death);
      return;
    }
    if (slot !== undefined) {
      const head = this.#end(slot);
      if (head !== undefined) this.#deaths.died(id, { invocation: head, ranMs: this.#ranMs(slot) }, death);
    }
    this.#dispatch();
  }

  /** Sends it nothing more; resolves when nothing of its is in flight. */
  retire(id: InstanceId): Promise<void> {
    const slot = this.#slots.get(id);
    if (slot === undefined) return Promise.resolve();
    slot.retiring = true;
    this.#dispatch();
    return this.#slots.finished(id);
  }

  /** A frame from the instance. @throws RangeError when it is nonsense: the link is then closed by its owner */
  onFrame(id: InstanceId, frame: Frame): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    const { type } = frame;
    if (type === frameType.serving) this.instanceServes(id);
    if (type === frameType.elsewhere) this.#toldElsewhere(slot, decodeElsewhere(frame.payload));
    if (type < frameType.result || type > frameType.streamEnd) return;
    const head = slot.inflight[0];
    if (head === undefined || head.frameId !== frame.id)
      throw new RangeError('an answer to nothing that was asked');
    switch (type) {
      case frameType.result:
      case frameType.streamEnd:
        this.#answered(slot, head, frame.payload);
        return;
      case frameType.streamStart:
        head.sink.onStreamStart?.(frame.payload);
        return;
      default:
        if (head.sink.onStreamChunk?.(frame.payload, () => slot.link.resume()) === false) slot.link.pause();
    }
  }

  /** Freezes what has idled long enough and reports it; to be called every so often. */
  sweep(mayFreeze: boolean): void {
    this.lending.sweep(this.#tuning.freezeAfterMs);
    this.#reserve.sweep(this.#slots.all(), mayFreeze);
  }

  // ---- dispatch

  /** How many may be in flight at one instance. */
  #mostAhead(): number {
    return this.#times.fitInto(this.#tuning.aheadMaxMs, this.#tuning.pipelineDepth);
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
      this.#send(slot, invocation);
    }
    this.lending.settleAll();
    const oldest = this.#queue.peek();
    if (oldest === undefined) return;
    this.#reserve.help(this.#slots.usable(), {
      generation: this.#route.generation,
      waiting: this.#waitingForStarts,
      oldest,
      taken: this.#queue.taken,
      averageMs: this.#times.averageMs ?? null,
      cap: this.#concurrency.cap,
    });
    this.#recheckTimer ??= setTimeout(() => this.#recheck(), this.#tuning.recheckMs);
  }

  #recheck(): void {
    this.#recheckTimer = undefined;
    const nowMs = this.#effects.clock.monotonicMs();
    for (let oldest = this.#queue.peek(); oldest !== undefined; oldest = this.#queue.peek()) {
      if (nowMs - oldest.queuedAtMs < this.#tuning.maxWaitMs) break;
      this.#queue.shift();
      this.#fail(
        oldest,
        this.#reserve.whyNone ?? this.#concurrency.throttled('FunctionInvocationRateLimitExceeded'),
      );
    }
    this.#dispatch();
    this.#reserve.settle(this.#waitingForStarts);
  }

  #send(slot: Slot, invocation: Invocation): void {
    invocation.frameId = slot.nextFrameId();
    slot.inflight.push(invocation);
    this.#trace.look(slot);
    const route = this.#route;
    slot.link.sendWritten((batch) => invocation.write(batch, route));
    if (slot.state === 'starting')
      slot.timer = setTimeout(() => this.#neverServed(slot), this.#tuning.acquireTimeoutMs);
    else if (slot.inflight.length === 1) this.#headStarts(slot);
  }

  #headStarts(slot: Slot): void {
    slot.headStartedAtMs = this.#effects.clock.monotonicMs();
    slot.elsewhereMost = slot.elsewhere;
    // One timer for a slot however many invocations it serves: it looks again when it fires.
    slot.timer ??= setTimeout(() => this.#checkTimeout(slot), this.#route.timeoutMs);
  }

  #checkTimeout(slot: Slot): void {
    slot.timer = undefined;
    const head = slot.inflight[0];
    if (head === undefined) return;
    // Each that was there besides had its own time, and who was first is not known here.
    const allowedMs = this.#route.timeoutMs * (1 + slot.elsewhereMost);
    const leftMs = slot.headStartedAtMs + allowedMs - this.#effects.clock.monotonicMs();
    // Timers may fire a fraction of a millisecond early.
    if (leftMs > 1) {
      slot.timer = setTimeout(() => this.#checkTimeout(slot), leftMs);
      return;
    }
    this.#end(slot);
    const { timeoutMs } = this.#route;
    this.#deaths.timedOut(slot.id, head, timeoutMs);
    this.#effects.discard(slot.id, `an invocation timed out after ${timeoutMs} ms`);
    this.#dispatch();
  }

  #answered(slot: Slot, head: Invocation, payload: Buffer): void {
    const result = decodeResult(payload);
    const nowMs = this.#effects.clock.monotonicMs();
    slot.inflight.shift();
    this.#times.add(Math.min(nowMs - slot.headStartedAtMs, result.durationMicros / 1000));
    if (result.outcome === outcome.fatal) {
      // It exits after this; the ones behind were not begun.
      slot.retiring = true;
      this.#giveBack(slot);
    }
    this.#concurrency.leave();
    this.#trace.look(slot);
    if (slot.inflight.length > 0) this.#headStarts(slot);
    else {
      slot.idleSinceMs = nowMs;
      slot.idleReportedAtMs = Number.NEGATIVE_INFINITY;
      this.#rest(slot);
      this.#slots.settle(slot.id);
    }
    head.sink.onResult(result);
    if (slot.wanted) this.lending.settle(slot);
    if (this.#queue.size > 0) this.#dispatch();
  }

  // ---- other gateways

  /** It runs so many invocations that are not ours. */
  #toldElsewhere(slot: Slot, count: number): void {
    this.#setElsewhere(slot, count);
    if (count > 0) {
      // Whoever sent them ends the instance when one times out, unless that crashed.
      const { deathReasonMs } = this.#tuning;
      slot.elsewhereTimer = setTimeout(
        () => this.#effects.discard(slot.id, 'an invocation that a gateway before had sent timed out'),
        this.#route.timeoutMs + deathReasonMs,
      );
      return;
    }
    slot.idleSinceMs = this.#effects.clock.monotonicMs();
    if (slot.inflight.length === 0) this.#slots.settle(slot.id);
    this.#dispatch();
  }

  #setElsewhere(slot: Slot, count: number): void {
    clearTimeout(slot.elsewhereTimer);
    this.#concurrency.elsewhere(count - slot.elsewhere);
    slot.elsewhere = count;
    slot.elsewhereMost = Math.max(slot.elsewhereMost, count);
  }

  /** An idle one of a gateway that leaves is thawed before it is used: others may freeze it. */
  #rest(slot: Slot): void {
    if (this.#leaving && slot.state === 'ready' && slot.inflight.length === 0) slot.state = 'frozen';
  }

  // ---- ends

  #fail(invocation: Invocation, failure: Failure): void {
    this.#concurrency.leave();
    invocation.sink.onFailure(failure);
  }

  /** All that were sent ahead and not begun wait again, first of all. They are no errors. */
  #giveBack(slot: Slot): void {
    this.#queue.unshift(slot.inflight.splice(0), this.#effects.clock.monotonicMs());
    this.#trace.look(slot);
  }

  /** From an instance that ends before it served. It gets nothing new, should it live. */
  #takeBack(slot: Slot): void {
    clearTimeout(slot.timer);
    slot.timer = undefined;
    if (slot.inflight.length > 0) slot.retiring = true;
    this.#giveBack(slot);
  }

  /** It is gone, and what it said last may not have been read: whether it had begun. Unless that is known soon, it had. */
  #awaitLinkEnd(slot: Slot, death: Death): void {
    slot.death = death;
    slot.retiring = true;
    clearTimeout(slot.timer);
    slot.timer = setTimeout(() => this.instanceServes(slot.id), this.#tuning.deathReasonMs);
  }

  /** The controller lets no start take so long: neither it nor the agent is there to end it. */
  #neverServed(slot: Slot): void {
    const head = this.#end(slot);
    if (head !== undefined)
      this.#fail(head, { kind: 'unavailable', message: 'The instance did not start in time.' });
    this.#effects.discard(slot.id, 'it was sent an invocation and did not begin');
    this.#dispatch();
  }

  /** Takes the slot away; what it had not begun goes back. @returns what it had begun */
  #end(slot: Slot): Invocation | undefined {
    slot.state = 'ended';
    clearTimeout(slot.timer);
    this.#setElsewhere(slot, 0);
    const head = slot.inflight.shift();
    this.#giveBack(slot);
    slot.link.close();
    this.#slots.remove(slot);
    this.lending.removed(slot);
    return head;
  }

  #ranMs(slot: Slot): number {
    return Math.max(0, this.#effects.clock.monotonicMs() - slot.headStartedAtMs);
  }

  /** No instance could be started. Those who have no other instance to hope for are told. */
  #startFailed(failure: Failure): void {
    if (this.#slots.anyServes) return;
    for (const invocation of this.#queue.takeAll()) this.#fail(invocation, failure);
  }
}
