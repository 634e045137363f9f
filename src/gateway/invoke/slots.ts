// The instances of one function as a set: which of them takes the next invocation, who works, and who waits for one to
// have finished. Owns that choice and nothing of what an instance runs (instances.ts).
import type { InstanceId } from '../../base/ids.ts';
import type { Invocation } from './invocation.ts';
import type { Slot } from './slot.ts';

export class Slots {
  /** Instances of another generation get nothing new. */
  generation: string;
  readonly #slots = new Map<InstanceId, Slot>();
  /** Who waits for an instance to have nothing in flight. */
  readonly #finished = new Map<InstanceId, (() => void)[]>();

  constructor(generation: string) {
    this.generation = generation;
  }

  add(slot: Slot): void {
    this.#slots.set(slot.id, slot);
  }

  get(id: InstanceId): Slot | undefined {
    return this.#slots.get(id);
  }

  remove({ id }: Slot): void {
    this.#slots.delete(id);
    this.settle(id);
  }

  ids(): Iterable<InstanceId> {
    return this.#slots.keys();
  }

  all(): Iterable<Slot> {
    return this.#slots.values();
  }

  /** Those that may get something new, now or when they are ready. */
  *usable(): Iterable<Slot> {
    for (const slot of this.#slots.values()) if (this.#isUsable(slot)) yield slot;
  }

  /** The one that was sent it, and has not answered. */
  withInFlight(invocation: Invocation): Slot | undefined {
    return [...this.#slots.values()].find(({ inflight }) => inflight.includes(invocation));
  }

  /** Whether one that serves may get something new. */
  get anyServes(): boolean {
    for (const slot of this.usable()) if (slot.serves) return true;
    return false;
  }

  /** How many invocations wait in instances that start. */
  get sentAhead(): number {
    let sent = 0;
    for (const { state, inflight } of this.#slots.values()) if (state === 'starting') sent += inflight.length;
    return sent;
  }

  /**
   * One that works and soon will have done what it has; else the most recently used idle one, so that the others stay
   * idle. The fullest first: what is sent together costs one system call and wakes one process.
   * @param most how many may be in flight at one that works
   */
  pick(most: number): Slot | undefined {
    let fullest: Slot | undefined;
    let idle: Slot | undefined;
    for (const slot of this.#slots.values()) {
      if (slot.state !== 'ready' || slot.elsewhere > 0 || !isOurs(slot) || !this.#isUsable(slot)) continue;
      const { length } = slot.inflight;
      if (length === 0) {
        if (idle === undefined || slot.idleSinceMs > idle.idleSinceMs) idle = slot;
      } else if (length < most && (fullest === undefined || length > fullest.inflight.length)) {
        fullest = slot;
      }
    }
    return fullest ?? idle;
  }

  /**
   * One that starts and has nothing yet to begin with. None where an instance serves: that may be free sooner, and what was
   * sent ahead can not be taken back.
   */
  pickStarting(): Slot | undefined {
    let picked: Slot | undefined;
    for (const slot of this.usable()) {
      if (slot.serves) return undefined;
      if (slot.state === 'starting' && slot.inflight.length === 0 && isOurs(slot)) picked ??= slot;
    }
    return picked;
  }

  #isUsable(slot: Slot): boolean {
    return !slot.retiring && slot.generation === this.generation;
  }

  /** Resolves when the instance has nothing in flight, whoever sent it, or is gone. */
  finished(id: InstanceId): Promise<void> {
    const slot = this.#slots.get(id);
    if (slot === undefined || slot.inflight.length + slot.elsewhere === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const waiting = this.#finished.get(id);
      if (waiting === undefined) this.#finished.set(id, [resolve]);
      else waiting.push(resolve);
    });
  }

  /** Nothing of ours is in flight there any more, or it is gone. */
  settle(id: InstanceId): void {
    if ((this.#slots.get(id)?.elsewhere ?? 0) > 0) return;
    const waiting = this.#finished.get(id);
    if (waiting === undefined) return;
    this.#finished.delete(id);
    for (const resolve of waiting) resolve();
  }
}

/** Whether this gateway is the one that sends to it. */
function isOurs({ place, yields }: Slot): boolean {
  return place === 'here' && !yields;
}
