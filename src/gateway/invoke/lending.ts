// Which gateway sends to an instance, where several serve together. Every instance is at home with one of them, which lends it to
// another that has calls waiting and no instance. Owns asking, lending and giving back for one function. Does not own who runs
// what (instances.ts), nor links between gateways (beside/).
//
//   at home:      here ──wanted, nothing in flight: lends──▶ elsewhere ──somebody waits: recalls──▶ asked
//                   ▲──────────────────────────returned, or its gateway ended──────────┴──────────────┘
//   not at home:  elsewhere ──somebody waits: wants──▶ asked ──lent──▶ here ──recalled, or idle for long: returns──▶ elsewhere
//                   ▲──────────────refused────────────────┘
//
// Who is at home may believe for a moment that another has one: a gateway that just came hears of loans before it knows the
// function. So a recall of what is not there is refused, and who is at home has it.
// An instance runs one invocation after the other, whoever sends them (runtime/node/unanswered.ts): should two gateways believe for
// a moment that it is theirs, as after a crash, a call waits for another's, and nothing is run twice or lost.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { LendingWord } from '../../protocol/beside.ts';
import type { Slot } from './slot.ts';
import type { Slots } from './slots.ts';

/** How long one that others wait for is kept while there is work for it: what is sent together costs less than each alone. */
const turnMs = 5;
/** Who was refused one asks again after this; a call that is short has ended. */
const refusedMs = 20;
/** Who was asked and has said nothing is asked again after this, in case it has not heard; it may also hang, so it is not counted on. */
const askAgainMs = 1_000;
/** One that was wanted before it was known here comes with the controller's next word. */
const earlyMs = 5_000;

/** One other gateway; two are the same when they are identical. */
export type Neighbour = object;

export interface LendingEffects {
  readonly clock: Clock;
  /** Whether this gateway is at home with it. */
  isHome(id: InstanceId): boolean;
  /** Who is at home with it; undefined where that has just ended. */
  homeOf(id: InstanceId): Neighbour | undefined;
  say(to: Neighbour, id: InstanceId, word: LendingWord): void;
  /** To all who are at home with it, but one. */
  sayToHomes(id: InstanceId, word: 'holds' | 'returns', except?: Neighbour): void;
}

export interface LendingHandlers {
  /** Whether calls wait. */
  readonly isWaiting: () => boolean;
  /** One is here that was not: look again. */
  readonly onHere: () => void;
  /** It stands still and is to be lent: only who is awake is. */
  readonly thaw: (slot: Slot) => void;
}

export class Lending {
  readonly #effects: LendingEffects;
  readonly #slots: Slots;
  readonly #handlers: LendingHandlers;
  /** Of those at home here, who has them. */
  readonly #holders = new Map<InstanceId, Neighbour>();
  /** Who waits for one that is at home here, or not known here yet. */
  readonly #wishes = new Map<InstanceId, { readonly who: Neighbour; readonly atMs: number }>();
  /** Those that others wait for. */
  readonly #pressed = new Set<Slot>();
  #leaving = false;

  constructor(effects: LendingEffects, slots: Slots, handlers: LendingHandlers) {
    this.#effects = effects;
    this.#slots = slots;
    this.#handlers = handlers;
  }

  /** One that is new. */
  added(slot: Slot): void {
    slot.atHome = this.#effects.isHome(slot.id);
    if (!slot.atHome || this.#holders.has(slot.id)) slot.place = 'elsewhere';
    if (this.#wishes.has(slot.id)) this.#press(slot);
  }

  removed(slot: Slot): void {
    this.#holders.delete(slot.id);
    this.#wishes.delete(slot.id);
    this.#pressed.delete(slot);
  }

  /** Another gateway serves in this place from now on: what is not at home here is given back as soon as nobody waits for it. */
  leave(): void {
    this.#leaving = true;
    for (const slot of this.#slots.all()) if (slot.place === 'here' && !slot.atHome) this.#press(slot);
    this.settleAll();
  }

  /** Whether one that is elsewhere may be asked for. @param busyToo also one that works */
  mayAsk({ place, placedAtMs, elsewhere }: Slot, busyToo: boolean): boolean {
    if (place !== 'elsewhere' || (elsewhere > 0 && !busyToo)) return false;
    return this.#effects.clock.monotonicMs() - placedAtMs >= refusedMs;
  }

  /** Would have one that another gateway has. */
  ask(slot: Slot): void {
    if (slot.place !== 'elsewhere') return;
    slot.askedAtMs = this.#effects.clock.monotonicMs();
    this.#ask(slot);
  }

  /** Whether one that was asked for may come any moment. */
  isExpected({ askedAtMs }: Slot): boolean {
    return this.#effects.clock.monotonicMs() - askedAtMs < askAgainMs;
  }

  #ask(slot: Slot): void {
    const { id, atHome } = slot;
    const whom = atHome ? this.#holders.get(id) : this.#effects.homeOf(id);
    if (whom !== undefined) {
      slot.place = 'asked';
      slot.placedAtMs = this.#effects.clock.monotonicMs();
      this.#effects.say(whom, id, atHome ? 'recalls' : 'wants');
      return;
    }
    // Its home has just ended. Nobody can say whether it stands still.
    this.#take(slot);
    if (slot.state === 'ready') slot.state = 'frozen';
    if (!atHome) this.#effects.sayToHomes(id, 'holds');
  }

  /** Another gateway's word. */
  heard(from: Neighbour, id: InstanceId, word: LendingWord): void {
    const slot = this.#slots.get(id);
    switch (word) {
      case 'wants':
        this.#wanted(from, id, slot);
        return;
      case 'lends':
        // Gone meanwhile here, and so it soon is there.
        if (slot === undefined) return;
        this.#takeAwake(slot);
        this.#effects.sayToHomes(id, 'holds', from);
        this.#handlers.onHere();
        return;
      case 'refuses':
        if (slot?.place !== 'asked') return;
        if (slot.atHome) {
          if (this.#holders.get(id) === from) this.#returned(id);
          return;
        }
        slot.place = 'elsewhere';
        slot.placedAtMs = this.#effects.clock.monotonicMs();
        return;
      case 'recalls':
        if (slot === undefined || slot.place === 'elsewhere') this.#effects.say(from, id, 'refuses');
        if (slot?.place !== 'here' || slot.atHome) return;
        this.#press(slot);
        this.settle(slot);
        return;
      case 'holds':
        this.#holders.set(id, from);
        if (slot?.place === 'here') slot.place = 'elsewhere';
        return;
      case 'returns':
        if (this.#holders.get(id) === from) this.#returned(id);
    }
  }

  /** Its gateway has ended, or the link to it. */
  gone(who: Neighbour): void {
    for (const [id, wish] of this.#wishes) if (wish.who === who) this.#forgetWish(id);
    for (const [id, holder] of this.#holders) if (holder === who) this.#returned(id);
    // Whoever was asked: the next in its place is.
    for (const slot of this.#slots.all())
      if (slot.place === 'asked' && !slot.atHome) slot.place = 'elsewhere';
  }

  /** What is at home with others and is here. */
  *borrowed(): Iterable<InstanceId> {
    for (const { id, place, atHome } of this.#slots.all()) if (place === 'here' && !atHome) yield id;
  }

  /** Gives away what others wait for and what is free, or whose turn here is over. */
  settleAll(): void {
    for (const slot of this.#pressed) this.settle(slot);
  }

  /** The same for one of which something has ended. */
  settle(slot: Slot): void {
    if (!slot.wanted || slot.place !== 'here') return;
    const heldMs = this.#effects.clock.monotonicMs() - slot.placedAtMs;
    if (this.#handlers.isWaiting() && heldMs < turnMs) return;
    slot.yields = true;
    if (slot.inflight.length > 0) return;
    if (!slot.atHome) this.#giveBack(slot);
    else if (slot.state === 'frozen') this.#handlers.thaw(slot);
    else if (slot.state === 'ready' || slot.state === 'starting') this.#lend(slot);
  }

  /** Gives back what has not been used for so long, asks again for what does not come, and forgets who wanted what never came. */
  sweep(idleMs: number): void {
    const nowMs = this.#effects.clock.monotonicMs();
    for (const slot of this.#slots.all()) {
      if (slot.place === 'asked' && nowMs - slot.placedAtMs >= askAgainMs) this.#ask(slot);
      if (slot.place !== 'here' || slot.atHome || slot.inflight.length > 0) continue;
      if (nowMs - Math.max(slot.idleSinceMs, slot.placedAtMs) >= idleMs) this.#giveBack(slot);
    }
    for (const [id, { atMs }] of this.#wishes)
      if (this.#slots.get(id) === undefined && nowMs - atMs >= earlyMs) this.#wishes.delete(id);
    this.settleAll();
  }

  #wanted(who: Neighbour, id: InstanceId, slot: Slot | undefined): void {
    const isMovable = slot === undefined || (!slot.retiring && slot.state !== 'freezing');
    const wish = this.#wishes.get(id);
    if (!this.#effects.isHome(id) || !isMovable || (wish !== undefined && wish.who !== who)) {
      this.#effects.say(who, id, 'refuses');
      return;
    }
    // It can not want what it has.
    if (this.#holders.get(id) === who) this.#returned(id);
    this.#wishes.set(id, { who, atMs: this.#effects.clock.monotonicMs() });
    if (slot === undefined) return;
    this.#press(slot);
    if (slot.place === 'here') this.settle(slot);
    else this.ask(slot);
  }

  #lend(slot: Slot): void {
    const { id } = slot;
    const wish = this.#wishes.get(id);
    this.#forgetWish(id);
    if (wish === undefined) return;
    slot.place = 'elsewhere';
    this.#holders.set(id, wish.who);
    this.#effects.say(wish.who, id, 'lends');
  }

  #giveBack(slot: Slot): void {
    slot.place = 'elsewhere';
    slot.placedAtMs = Number.NEGATIVE_INFINITY;
    this.#release(slot);
    this.#effects.sayToHomes(slot.id, 'returns');
  }

  #returned(id: InstanceId): void {
    this.#holders.delete(id);
    const slot = this.#slots.get(id);
    if (slot === undefined || !slot.atHome) return;
    this.#takeAwake(slot);
    this.#handlers.onHere();
    this.settle(slot);
  }

  /** Only what is awake is lent, and it is given back so. */
  #takeAwake(slot: Slot): void {
    this.#take(slot);
    slot.frozenBelow = false;
    if (slot.state === 'frozen') slot.state = 'ready';
  }

  #take(slot: Slot): void {
    slot.place = 'here';
    slot.placedAtMs = this.#effects.clock.monotonicMs();
    if (this.#leaving && !slot.atHome) this.#press(slot);
  }

  #forgetWish(id: InstanceId): void {
    this.#wishes.delete(id);
    const slot = this.#slots.get(id);
    if (slot !== undefined) this.#release(slot);
  }

  #press(slot: Slot): void {
    slot.wanted = true;
    this.#pressed.add(slot);
  }

  #release(slot: Slot): void {
    slot.wanted = false;
    slot.yields = false;
    this.#pressed.delete(slot);
  }
}
