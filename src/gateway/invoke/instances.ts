// The instances of one function and what each has in flight: from sending an invocation to its answer, its time-out, or the
// instance's end. Owns a slot's life (slot.ts) but for freezing and starting (reserve.ts) and whose turn it is (lending.ts). Does not
// own who waits (function-pool.ts), which instance is next (slots.ts), timers (deadlines.ts), nor what a death or a time-out is
// answered (deaths.ts).
import type { Frame } from '../../base/frame.ts';
import type { InstanceId } from '../../base/ids.ts';
import { decodeElsewhere, decodeResult, frameType, outcome } from '../../protocol/instance.ts';
import type { CallTrace, WorkloadRoute } from '../../protocol/routes.ts';
import type { InvokeTuning } from '../config.ts';
import { BusyTrace } from './busy-trace.ts';
import type { FunctionConcurrency } from './concurrency.ts';
import { Deadlines } from './deadlines.ts';
import { Deaths } from './deaths.ts';
import type { PoolEffects } from './effects.ts';
import { Elsewhere } from './elsewhere.ts';
import type { Failure, Invocation } from './invocation.ts';
import type { Lending } from './lending.ts';
import type { Death } from './payloads.ts';
import { ServiceTimes } from './service-times.ts';
import { Slot, type NewInstance, type SlotLink } from './slot.ts';
import type { Slots } from './slots.ts';

export interface InstancesParts {
  readonly slots: Slots;
  readonly effects: PoolEffects;
  readonly tuning: InvokeTuning;
  readonly concurrency: FunctionConcurrency;
  readonly lending: Pick<Lending, 'added' | 'removed' | 'settle'>;
}

export interface InstancesHandlers {
  /** One may be sent something that could not, or there is one less: look again. */
  readonly onChange: () => void;
  /** One has been answered: who waits may be next. */
  readonly onAnswered: () => void;
  /** They were sent ahead and not begun, and wait again, first of all. They are no errors. */
  readonly onGivenBack: (invocations: Invocation[]) => void;
  readonly fail: (invocation: Invocation, failure: Failure) => void;
}

export class Instances {
  readonly times = new ServiceTimes();
  #route: WorkloadRoute;
  readonly #slots: Slots;
  readonly #effects: PoolEffects;
  readonly #tuning: InvokeTuning;
  readonly #concurrency: FunctionConcurrency;
  readonly #lending: InstancesParts['lending'];
  readonly #handlers: InstancesHandlers;
  readonly #trace: BusyTrace;
  readonly #deaths: Deaths;
  readonly #elsewhere: Elsewhere;
  readonly #deadlines: Deadlines;
  #leaving = false;

  constructor(route: WorkloadRoute, parts: InstancesParts, handlers: InstancesHandlers) {
    const { slots, effects, tuning, concurrency, lending } = parts;
    this.#route = route;
    this.#slots = slots;
    this.#effects = effects;
    this.#tuning = tuning;
    this.#concurrency = concurrency;
    this.#lending = lending;
    this.#handlers = handlers;
    this.#trace = new BusyTrace(effects.clock);
    this.#deaths = new Deaths(effects, tuning, handlers.fail);
    this.#elsewhere = new Elsewhere(effects, concurrency);
    this.#deadlines = new Deadlines(route.timeoutMs, effects.clock, tuning, {
      onTimedOut: (slot, head) => this.#timedOut(slot, head),
      onNeverServed: (slot) => this.#neverServed(slot),
      onLinkSilent: (slot) => this.serves(slot.id),
    });
  }

  get busy(): number {
    return this.#trace.busy;
  }

  /** How calls kept instances busy since it was asked last; undefined when none began or ended. */
  takeCalls(): CallTrace | undefined {
    return this.#trace.take();
  }

  /** A new limit, time-out or generation; instances of another generation get nothing new. */
  setRoute(route: WorkloadRoute): void {
    if (route.generation !== this.#route.generation) this.times.renew();
    this.#route = route;
    this.#slots.generation = route.generation;
    this.#deadlines.timeoutMs = route.timeoutMs;
  }

  /** Another gateway serves from now on: whoever is used again is thawed before, to be sure. */
  leave(): void {
    this.#leaving = true;
    for (const slot of this.#slots.all()) this.#rest(slot);
  }

  /** Takes back what was sent to those that have not begun with it. */
  takeBackAll(): void {
    for (const slot of this.#slots.all()) if (slot.state === 'starting') this.#takeBack(slot);
  }

  /** As if all had been killed. */
  endAll(): void {
    for (const id of this.#slots.ids()) this.gone(id, { reason: 'signal: killed', oomKilled: false });
  }

  // ---- what they are and say

  add(instance: NewInstance, link: SlotLink): void {
    const slot = new Slot(instance, link, this.#effects.clock.monotonicMs());
    this.#slots.add(slot);
    this.#lending.added(slot);
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
    this.#handlers.onChange();
  }

  /** It says, or the controller does, that its code is loaded: it begins with what was sent ahead. */
  serves(id: InstanceId): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.serves) return;
    slot.serves = true;
    if (slot.state !== 'starting') return;
    slot.state = 'ready';
    this.#deadlines.none(slot);
    slot.idleSinceMs = this.#effects.clock.monotonicMs();
    if (slot.inflight.length > 0) this.#deadlines.headStarts(slot);
    if (slot.death === undefined) this.#handlers.onChange();
    else this.gone(id, slot.death);
  }

  /** Its link broke. Whoever had something in flight can not be trusted again: its state is unknown. */
  linkLost(id: InstanceId): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.state === 'ended') return;
    // The next link is told anew.
    this.#elsewhere.forget(slot);
    // All that it sent was read, and that it begins was not among it.
    if (slot.state === 'starting') this.#takeBack(slot);
    if (slot.death !== undefined) {
      this.gone(id, slot.death);
      return;
    }
    if (slot.inflight.length === 0) {
      slot.frozenBelow = slot.state === 'freezing' || slot.state === 'frozen' || slot.state === 'thawing';
      slot.state = 'connecting';
      this.#handlers.onChange();
      return;
    }
    const head = this.#end(slot);
    if (head === undefined) return;
    this.#deaths.linkBroke(id, { invocation: head, ranMs: this.#deadlines.ranMs(slot) });
    this.#handlers.onChange();
  }

  /** The controller says that it ended, and why. */
  gone(id: InstanceId, death: Death): void {
    this.#deaths.reasonKnown(id, death);
    const slot = this.#slots.get(id);
    if (slot?.state === 'starting' && slot.inflight.length > 0) {
      this.#awaitLinkEnd(slot, death);
      return;
    }
    if (slot !== undefined) {
      const head = this.#end(slot);
      if (head !== undefined)
        this.#deaths.died(id, { invocation: head, ranMs: this.#deadlines.ranMs(slot) }, death);
    }
    this.#handlers.onChange();
  }

  /** Sends it nothing more; resolves when nothing of its is in flight. */
  retire(id: InstanceId): Promise<void> {
    const slot = this.#slots.get(id);
    if (slot === undefined) return Promise.resolve();
    slot.retiring = true;
    this.#handlers.onChange();
    return this.#slots.finished(id);
  }

  /** A frame from the instance. @throws RangeError when it is nonsense: the link is then closed by its owner */
  onFrame(id: InstanceId, frame: Frame): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    const { type } = frame;
    if (type === frameType.serving) this.serves(id);
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

  // ---- what they run

  send(slot: Slot, invocation: Invocation): void {
    invocation.frameId = slot.nextFrameId();
    slot.inflight.push(invocation);
    this.#trace.look(slot);
    const route = this.#route;
    slot.link.sendWritten((batch) => invocation.write(batch, route));
    if (slot.state === 'starting') this.#deadlines.mustServe(slot);
    else if (slot.inflight.length === 1) this.#deadlines.headStarts(slot);
  }

  #timedOut(slot: Slot, head: Invocation): void {
    this.#end(slot);
    const { timeoutMs } = this.#route;
    this.#deaths.timedOut(slot.id, head, timeoutMs);
    this.#effects.discard(slot.id, `an invocation timed out after ${timeoutMs} ms`);
    this.#handlers.onChange();
  }

  #answered(slot: Slot, head: Invocation, payload: Buffer): void {
    const result = decodeResult(payload);
    const nowMs = this.#effects.clock.monotonicMs();
    slot.inflight.shift();
    this.times.add(Math.min(nowMs - slot.headStartedAtMs, result.durationMicros / 1000));
    if (result.outcome === outcome.fatal) {
      // It exits after this; the ones behind were not begun.
      slot.retiring = true;
      this.#giveBack(slot);
    }
    this.#concurrency.leave();
    this.#trace.look(slot);
    if (slot.inflight.length > 0) this.#deadlines.headStarts(slot);
    else {
      slot.idleSinceMs = nowMs;
      slot.idleReportedAtMs = Number.NEGATIVE_INFINITY;
      this.#rest(slot);
      this.#slots.settle(slot.id);
    }
    head.sink.onResult(result);
    if (slot.wanted) this.#lending.settle(slot);
    this.#handlers.onAnswered();
  }

  /** It runs so many invocations that are not ours. */
  #toldElsewhere(slot: Slot, count: number): void {
    this.#elsewhere.told(slot, count, this.#route.timeoutMs + this.#tuning.deathReasonMs);
    if (count > 0) return;
    slot.idleSinceMs = this.#effects.clock.monotonicMs();
    if (slot.inflight.length === 0) this.#slots.settle(slot.id);
    this.#handlers.onChange();
  }

  /** An idle one of a gateway that leaves is thawed before it is used: others may freeze it. */
  #rest(slot: Slot): void {
    if (this.#leaving && slot.state === 'ready' && slot.inflight.length === 0) slot.state = 'frozen';
  }

  // ---- ends

  /** All that were sent ahead and not begun. */
  #giveBack(slot: Slot): void {
    this.#handlers.onGivenBack(slot.inflight.splice(0));
    this.#trace.look(slot);
  }

  /** From an instance that ends before it served. It gets nothing new, should it live. */
  #takeBack(slot: Slot): void {
    this.#deadlines.none(slot);
    if (slot.inflight.length > 0) slot.retiring = true;
    this.#giveBack(slot);
  }

  /** It is gone, and what it said last may not have been read: whether it had begun. Unless that is known soon, it had. */
  #awaitLinkEnd(slot: Slot, death: Death): void {
    slot.death = death;
    slot.retiring = true;
    this.#deadlines.linkMustEnd(slot);
  }

  #neverServed(slot: Slot): void {
    const head = this.#end(slot);
    if (head !== undefined)
      this.#handlers.fail(head, { kind: 'unavailable', message: 'The instance did not start in time.' });
    this.#effects.discard(slot.id, 'it was sent an invocation and did not begin');
    this.#handlers.onChange();
  }

  /** Takes the slot away; what it had not begun goes back. @returns what it had begun */
  #end(slot: Slot): Invocation | undefined {
    slot.state = 'ended';
    this.#deadlines.none(slot);
    this.#elsewhere.forget(slot);
    const head = slot.inflight.shift();
    this.#giveBack(slot);
    slot.link.close();
    this.#slots.remove(slot);
    this.#lending.removed(slot);
    return head;
  }
}
