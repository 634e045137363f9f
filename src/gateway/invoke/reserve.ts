// The instances of a function that could serve and do not at the moment: idle ones are frozen, frozen ones thawed when
// somebody waits, missing ones started. Owns these moves and the starter. Does not own who runs what (instances.ts).
import { BellowsError } from '../../base/errors.ts';
import type { InvokeTuning } from '../config.ts';
import type { PoolEffects } from './effects.ts';
import type { Failure } from './invocation.ts';
import type { Lending } from './lending.ts';
import type { Slot } from './slot.ts';
import { Starter, type Demand } from './starter.ts';

/** One that idles longer is said to: a client that calls again and again pauses less. */
const idleAfterMs = 100;
/** How often the controller is told again that an instance idles: it may have restarted meanwhile. */
const idleReportMs = 10_000;

export interface ReserveHandlers {
  /** An instance may take requests now, or a start ended: look again. */
  readonly onChange: () => void;
  /** Nobody who waits can be helped by waiting longer. */
  readonly onStartFailed: (failure: Failure) => void;
}

/** Who waits, and what bounds the help. */
export interface Waiting extends Pick<Demand, 'generation' | 'waiting' | 'averageMs' | 'cap'> {
  readonly oldest: { readonly queuedAtMs: number; readonly takenBefore: number };
  /** How many of those that waited were taken up so far. */
  readonly taken: number;
}

export class Reserve {
  readonly #effects: PoolEffects;
  readonly #tuning: InvokeTuning;
  readonly #lending: Pick<Lending, 'ask' | 'mayAsk' | 'isExpected'>;
  readonly #onChange: () => void;
  readonly #starter: Starter;
  #leaving = false;
  /** Since when so many serve, as far as it was looked at, and how many had been taken up by then. */
  #same = { running: 0, sinceMs: 0, taken: 0 };

  constructor(
    effects: PoolEffects,
    tuning: InvokeTuning,
    lending: Pick<Lending, 'ask' | 'mayAsk' | 'isExpected'>,
    handlers: ReserveHandlers,
  ) {
    this.#effects = effects;
    this.#tuning = tuning;
    this.#lending = lending;
    this.#onChange = handlers.onChange;
    this.#starter = new Starter(effects, tuning, {
      onFailure: handlers.onStartFailed,
      onChange: handlers.onChange,
    });
  }

  /** Why the last start was refused; undefined when it was not. */
  get whyNone(): Failure | undefined {
    return this.#starter.whyNone;
  }

  /** Another gateway decides from now on who is frozen: what is being frozen for us is thawed again. */
  leave(): void {
    this.#leaving = true;
  }

  /** Reports what idles and what is in use again, and freezes what has idled long enough. */
  sweep(slots: Iterable<Slot>, mayFreeze: boolean): void {
    const nowMs = this.#effects.clock.monotonicMs();
    for (const slot of slots) {
      const idleMs = nowMs - slot.idleSinceMs;
      if (slot.retiring || !slot.atHome || (slot.state !== 'ready' && slot.state !== 'frozen')) continue;
      if (slot.inflight.length + slot.elsewhere > 0 || idleMs < idleAfterMs) {
        this.#sayBusy(slot);
        continue;
      }
      this.#sayIdle(slot, nowMs, idleMs);
      const restsMs = nowMs - Math.max(slot.idleSinceMs, slot.freezeRefusedAtMs);
      const isOurs = slot.place === 'here' && !slot.wanted;
      if (mayFreeze && isOurs && slot.state === 'ready' && restsMs >= this.#tuning.freezeAfterMs)
        this.#freeze(slot);
    }
  }

  #sayBusy(slot: Slot): void {
    if (slot.said === 'busy') return;
    slot.said = 'busy';
    this.#effects.idle(slot.id, null);
  }

  #sayIdle(slot: Slot, nowMs: number, idleMs: number): void {
    if (slot.said === 'idle' && nowMs - slot.idleReportedAtMs < idleReportMs) return;
    slot.said = 'idle';
    slot.idleReportedAtMs = nowMs;
    this.#effects.idle(slot.id, this.#effects.clock.nowMs() - idleMs);
  }

  /** Starts that were asked for more than so many who wait now may be given up. */
  settle(waiting: number): void {
    this.#starter.settle(waiting);
  }

  /** Thaws and starts what is worth it for those who wait. @param usable the slots that may be sent to */
  help(usable: Iterable<Slot>, waiting: Waiting): void {
    let running = 0;
    let coming = 0;
    const runningMs: number[] = [];
    const nowMs = this.#effects.clock.monotonicMs();
    const frozen: Slot[] = [];
    const others: Slot[] = [];
    for (const slot of usable) {
      if (slot.place !== 'here') others.push(slot);
      if (slot.elsewhere > 0) running += 1;
      else if (slot.place === 'asked') coming += slot.serves && this.#lending.isExpected(slot) ? 1 : 0;
      else if (slot.place === 'elsewhere') running += slot.serves ? 1 : 0;
      else if (slot.state === 'ready') {
        running += 1;
        if (slot.inflight.length > 0) runningMs.push(nowMs - slot.headStartedAtMs);
      } else if (slot.state === 'frozen') frozen.push(slot);
      // One that starts is counted by who asked for it.
      else if (slot.state !== 'ended' && slot.serves) coming += 1;
    }
    // Thawing takes a millisecond: always sooner than a start.
    frozen.sort((left, right) => right.idleSinceMs - left.idleSinceMs);
    for (const slot of frozen) {
      if (coming >= waiting.waiting) return;
      this.thaw(slot);
      coming += 1;
    }
    // So does asking another gateway for one that it does not use.
    for (const slot of others) {
      if (coming >= waiting.waiting) return;
      if (!this.#lending.mayAsk(slot, false)) continue;
      this.#lending.ask(slot);
      if (slot.serves) coming += 1;
    }
    if (nowMs - waiting.oldest.queuedAtMs >= this.#tuning.recheckMs)
      this.#askForBusy(others, waiting.waiting - coming);
    this.#starter.consider({
      ...waiting,
      head: this.#seen(running, waiting, nowMs),
      running,
      coming,
      runningMs,
    });
  }

  /** That one waited while others served, or nobody, says nothing of how soon those who serve now take it up. */
  #seen(running: number, { oldest, taken }: Waiting, nowMs: number): Demand['head'] {
    if (running !== this.#same.running) this.#same = { running, sinceMs: nowMs, taken };
    const { sinceMs, taken: takenThen } = this.#same;
    return oldest.queuedAtMs > sinceMs
      ? { waitedMs: nowMs - oldest.queuedAtMs, takenUp: taken - oldest.takenBefore }
      : { waitedMs: nowMs - sinceMs, takenUp: taken - takenThen };
  }

  /** Others wait their turn at each, for as long as one lasts. */
  #askForBusy(others: readonly Slot[], most: number): void {
    let asked = 0;
    for (const slot of others) {
      if (asked >= most) return;
      if (slot.place !== 'asked' && !this.#lending.mayAsk(slot, true)) continue;
      this.#lending.ask(slot);
      asked += 1;
    }
  }

  #freeze(slot: Slot): void {
    slot.state = 'freezing';
    const frozen = (): void => {
      // The next gateway may have thawed it before, and use it.
      if (this.#leaving) this.#effects.thaw(slot.id).catch(() => undefined);
      this.#moved(slot, 'freezing', 'frozen');
    };
    this.#effects.freeze(slot.id).then(frozen, (thrown: unknown) => {
      // Asked and not answered: it may stand still by now or in a moment, and would answer nothing before a thaw.
      if (thrown instanceof BellowsError && thrown.code === 'Unavailable') {
        frozen();
        return;
      }
      // Not tried again before it has idled as long once more.
      slot.freezeRefusedAtMs = this.#effects.clock.monotonicMs();
      this.#moved(slot, 'freezing', this.#leaving ? 'frozen' : 'ready');
    });
  }

  thaw(slot: Slot): void {
    slot.state = 'thawing';
    this.#effects.thaw(slot.id).then(
      () => {
        slot.frozenBelow = false;
        this.#moved(slot, 'thawing', 'ready');
      },
      // Tried again at the next recheck, while somebody waits.
      () => this.#moved(slot, 'thawing', 'frozen', false),
    );
  }

  #moved(slot: Slot, from: Slot['state'], to: Slot['state'], andTell = true): void {
    if (slot.state !== from) return;
    slot.state = to;
    if (andTell) this.#onChange();
  }
}
