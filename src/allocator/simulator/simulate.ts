// A day on one machine, in virtual time: calls come, instances start, serve, idle, are trimmed and go. It decides nothing: how
// many to start, how long to keep them, what to grant and what to take back is asked of the same functions as in the live loop.
import { dueAtMs, mayEndAtMs, type Expectation } from '../arrivals/keeping.ts';
import { instancesToStart } from '../scale.ts';
import { dayMs, type Call, type SimulatedFunction } from './azure-day.ts';
import { costs, trimmedBytes } from './costs.ts';
import { EventQueue } from './event-queue.ts';
import { newFunction, type FunctionState, type InstanceState, type SimulatedEvent } from './instance.ts';
import type { SimulatedPolicy } from './policy.ts';
import { activeDemand, Room } from './room.ts';
import { Tally, type SimulationReport } from './tally.ts';

export interface SimulationOptions {
  readonly functions: readonly SimulatedFunction[];
  readonly seed: number;
  readonly policy: SimulatedPolicy;
  /** What may be granted in all; Infinity asks what a policy would use if it could. */
  readonly capacityBytes: number;
  readonly untilMs?: number;
  /** What a start takes; what was measured on a quiet machine unless told otherwise. */
  readonly startMs?: number;
  /** To report how things stood at moments so far apart. */
  readonly momentEveryMs?: number;
}

/** A function may have so many instances: Lambda's default concurrency. */
const mostInstances = 1_000;
/** Started ahead in vain, for want of room: tried again so soon, as at the controller's tick. */
const prewarmRetryMs = 1_000;
/** How much the last call counts in a function's usual duration. */
const smoothing = 0.2;

export function simulate(options: SimulationOptions): SimulationReport {
  return new Simulation(options).run(options.untilMs ?? dayMs);
}

class Simulation {
  readonly #policy: SimulatedPolicy;
  readonly #startMs: number;
  readonly #functions: readonly FunctionState[];
  readonly #events = new EventQueue<SimulatedEvent>();
  readonly #tally: Tally;
  readonly #room: Room;
  /** Those with calls that found no room: tried again when there is some. */
  readonly #blocked = new Set<FunctionState>();
  #nowMs = 0;
  #made = 0;

  constructor({ functions, seed, policy, capacityBytes, momentEveryMs, startMs }: SimulationOptions) {
    this.#startMs = startMs ?? costs.startMs;
    this.#policy = policy;
    this.#functions = functions.map((of) => newFunction(of, seed));
    this.#tally = new Tally(functions.length, momentEveryMs ?? Number.POSITIVE_INFINITY);
    this.#room = new Room(capacityBytes, this.#tally, (instance) => this.#end(instance));
  }

  run(untilMs: number): SimulationReport {
    for (const of of this.#functions) this.#expectCall(of);
    for (;;) {
      const next = this.#events.next();
      if (next === undefined || next.atMs > untilMs) break;
      this.#nowMs = next.atMs;
      this.#handle(next.event);
    }
    return this.#tally.report(untilMs);
  }

  #handle(event: SimulatedEvent): void {
    switch (event.type) {
      case 'call':
        this.#tally.count('calls');
        this.#expectCall(event.of);
        event.of.knownSinceMs ??= this.#nowMs;
        event.of.arrivals.called(event.of.busy, this.#nowMs);
        event.of.called += 1;
        event.of.waiting.push({ call: event.call, ahead: event.of.waiting.length });
        this.#dispatch(event.of);
        return;
      case 'started':
        event.instance.function.starting -= 1;
        this.#becomeIdle(event.instance);
        return;
      case 'ended':
        this.#finish(event.instance, event.call, event.usedBytes);
        return;
      case 'look':
        // An earlier one was asked for meanwhile.
        if (event.instance.lookAtMs !== this.#nowMs) return;
        event.instance.lookAtMs = Number.POSITIVE_INFINITY;
        this.#look(event.instance);
        return;
      case 'prewarm':
        this.#prewarm(event.of, event.called);
        return;
    }
  }

  #expectCall(of: FunctionState): void {
    const call = of.calls.next();
    this.#events.add(call.atMs, { type: 'call', of, call });
  }

  #dispatch(of: FunctionState): void {
    for (let first = of.waiting[0]; first !== undefined; first = of.waiting[0]) {
      const instance = of.idle.at(-1);
      if (instance === undefined || !this.#serve(instance, first.call)) break;
      of.waiting.shift();
    }
    const { busy, starting, waiting, serviceMs } = of;
    const [head] = waiting;
    // All that waited before it were taken up since.
    const waited =
      head === undefined
        ? { waitedMs: 0, takenUp: 0 }
        : { waitedMs: this.#nowMs - head.call.atMs, takenUp: head.ahead };
    const load = {
      busy,
      idle: 0,
      starting,
      waiting: waiting.length,
      head: waited,
      serviceMs,
      startMs: this.#startMs,
    };
    const wanted = of.idle.length > 0 ? 0 : instancesToStart(load, mostInstances);
    for (let count = 0; count < wanted; count += 1) {
      if (!this.#start(of)) return this.#block(of);
      this.#tally.count('coldStarts');
    }
  }

  #block(of: FunctionState): void {
    if (this.#blocked.has(of)) return;
    this.#tally.count('waitedForRoom');
    this.#blocked.add(of);
  }

  /** False when there is no room for it. */
  #start(of: FunctionState): boolean {
    const usedBytes = trimmedBytes(of.of.peakBytes);
    const instance: InstanceState = {
      id: this.#made,
      function: of,
      phase: 'starting',
      grantBytes: 0,
      usedBytes: 0,
      idleSinceMs: this.#nowMs,
      lookAtMs: Number.POSITIVE_INFINITY,
    };
    const grantBytes = this.#grantOf(instance);
    const tookMs = this.#room.make(grantBytes, this.#nowMs, instance);
    if (tookMs === null) return false;
    this.#made += 1;
    of.starting += 1;
    this.#room.add(instance);
    this.#tally.instances(this.#nowMs, 1);
    this.#set(instance, grantBytes, usedBytes);
    this.#events.add(this.#nowMs + tookMs + this.#startMs, { type: 'started', instance });
    return true;
  }

  /** False when there is no room for it to run in. */
  #serve(instance: InstanceState, call: Call): boolean {
    const { function: of } = instance;
    const grantBytes = Math.max(instance.grantBytes, this.#grantOf(instance));
    const growBytes = grantBytes - instance.grantBytes;
    const tookMs = growBytes === 0 ? 0 : this.#room.make(growBytes, this.#nowMs, instance);
    if (tookMs === null) {
      this.#block(of);
      return false;
    }
    // Making room may have ended it, were it not the one that asks; it is still the last of the idle ones.
    of.idle.pop();
    of.busy += 1;
    this.#tally.busy(of.of.index, of.busy);
    const wakeMs = instance.phase === 'idle' ? 0 : costs.growMs;
    instance.phase = 'busy';
    if (this.#nowMs + tookMs + wakeMs - call.atMs > this.#startMs / 2) this.#tally.count('slowCalls');
    const usedBytes = Math.max(instance.usedBytes, call.needBytes);
    if (usedBytes > grantBytes) this.#tally.count('ooms');
    // It comes to its peak bit by bit: on average half of the way counts.
    this.#set(instance, grantBytes, Math.ceil((instance.usedBytes + usedBytes) / 2));
    this.#events.add(this.#nowMs + tookMs + wakeMs + call.durationMs, {
      type: 'ended',
      instance,
      call,
      usedBytes,
    });
    return true;
  }

  #finish(instance: InstanceState, call: Call, usedBytes: number): void {
    const { function: of } = instance;
    of.busy -= 1;
    of.arrivals.ended(this.#nowMs);
    of.serviceMs =
      of.serviceMs === null ? call.durationMs : of.serviceMs + smoothing * (call.durationMs - of.serviceMs);
    of.prediction.observe('memory', usedBytes, this.#nowMs);
    this.#set(instance, instance.grantBytes, usedBytes);
    this.#becomeIdle(instance);
  }

  #becomeIdle(instance: InstanceState): void {
    const { function: of } = instance;
    instance.phase = 'idle';
    instance.idleSinceMs = this.#nowMs;
    of.idle.push(instance);
    this.#watch(instance);
    if (of.waiting.length > 0) this.#dispatch(of);
    this.#unblock();
  }

  #unblock(): void {
    for (const of of this.#blocked) {
      this.#blocked.delete(of);
      const before = of.waiting.length;
      this.#dispatch(of);
      // What does not fit lets nothing behind it in: the first in the queue is not to starve.
      if (of.waiting.length === before && this.#blocked.has(of)) return;
    }
  }

  /** At an idle instance: is it to rest, to go, or to be looked at again? */
  #look(instance: InstanceState): void {
    if (instance.phase === 'busy' || instance.phase === 'gone') return;
    this.#rest(instance);
    if (this.#nowMs >= this.#goesAt(instance)) this.#end(instance);
    else this.#watch(instance);
    this.#unblock();
  }

  /** What stands still is granted what it uses; what does so for longer is trimmed. */
  #rest(instance: InstanceState): void {
    const { rest } = this.#policy;
    if (rest === null) return;
    const { idleSinceMs, usedBytes } = instance;
    if (instance.phase !== 'trimmed' && this.#nowMs >= idleSinceMs + rest.trimAfterMs) {
      this.#tally.count('trims');
      instance.phase = 'trimmed';
      this.#set(instance, trimmedBytes(usedBytes), trimmedBytes(usedBytes));
    } else if (instance.phase === 'idle' && this.#nowMs >= idleSinceMs + rest.freezeAfterMs) {
      instance.phase = 'frozen';
      this.#set(instance, usedBytes, usedBytes);
    }
  }

  #goesAt({ function: of, idleSinceMs }: InstanceState): number {
    // Those that idle for less are used before it.
    const sooner = of.idle.filter((other) => other.idleSinceMs > idleSinceMs).length;
    const depth = of.busy + sooner + 1;
    const isOnly = of.idle.length + of.busy + of.starting === 1;
    return mayEndAtMs(
      { idleSinceMs, depth, isOnly },
      this.#expectationOf(of, depth),
      this.#policy.keepAlive,
      this.#nowMs,
    );
  }

  #expectationOf({ arrivals, knownSinceMs }: FunctionState, depth: number): Expectation {
    return {
      windows: arrivals.windows(depth, this.#nowMs),
      lastEndedMs: arrivals.lastEndedMs,
      knownSinceMs: knownSinceMs ?? this.#nowMs,
    };
  }

  #watch(instance: InstanceState): void {
    const { rest } = this.#policy;
    const { phase, idleSinceMs } = instance;
    const dueMs =
      rest === null || phase === 'trimmed'
        ? this.#goesAt(instance)
        : idleSinceMs + (phase === 'idle' ? rest.freezeAfterMs : rest.trimAfterMs);
    const atMs = Math.max(this.#nowMs, dueMs);
    if (instance.lookAtMs <= atMs) return;
    instance.lookAtMs = atMs;
    this.#events.add(atMs, { type: 'look', instance });
  }

  #dueAtMs(of: FunctionState): number | null {
    return dueAtMs(this.#expectationOf(of, 1), this.#policy.keepAlive, this.#nowMs);
  }

  /** When nothing is there any more: is the next call expected, and when? */
  #expectStart(of: FunctionState): void {
    if (isThere(of)) return;
    const dueMs = this.#dueAtMs(of);
    if (dueMs !== null) this.#events.add(dueMs, { type: 'prewarm', of, called: of.called });
  }

  /** Where nobody has to give room for it; it is tried again while the call is expected. */
  #prewarm(of: FunctionState, called: number): void {
    if (of.called !== called || isThere(of)) return;
    const dueMs = this.#dueAtMs(of);
    if (dueMs === null) return;
    const isDue = dueMs <= this.#nowMs;
    if (isDue && this.#room.isFree(of.of.requestBytes) && this.#start(of)) this.#tally.count('prewarms');
    else this.#events.add(isDue ? this.#nowMs + prewarmRetryMs : dueMs, { type: 'prewarm', of, called });
  }

  #end(instance: InstanceState): void {
    const { function: of } = instance;
    of.idle.splice(of.idle.indexOf(instance), 1);
    instance.phase = 'gone';
    this.#room.remove(instance);
    this.#tally.instances(this.#nowMs, -1);
    this.#set(instance, 0, 0);
    // Whoever was used after it is used sooner now.
    for (const other of of.idle) this.#watch(other);
    this.#expectStart(of);
  }

  #grantOf(instance: InstanceState): number {
    return this.#policy.grants === 'demand'
      ? activeDemand(instance, this.#nowMs)
      : instance.function.of.requestBytes;
  }

  #set(instance: InstanceState, grantBytes: number, usedBytes: number): void {
    this.#tally.change(this.#nowMs, grantBytes - instance.grantBytes, usedBytes - instance.usedBytes);
    instance.grantBytes = grantBytes;
    instance.usedBytes = usedBytes;
  }
}

function isThere({ idle, busy, starting }: FunctionState): boolean {
  return idle.length + busy + starting > 0;
}
