// When grants are divided anew though nobody asked for a change: something came, went, woke or gave a lent grant back, or memory is
// needed. Owns the moments: at once for what can not wait, joined where much comes together, on a tick for the rest, and
// never while everybody has what it asks for. The division is the resizer's (../resize/divider.ts).
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Logger } from '../../sys/log.ts';
import type { Divider } from '../resize/divider.ts';
import { promisedMemory, seenOf, type ActualState, type Change, type Tracked } from '../state/actual.ts';
import type { SteadyDemands } from './steady-demand.ts';

/** Of the time, at most so much is spent on dividing because of events: one division follows another after 20 times what it took. */
const restTimes = 20;
/** Room that was made for somebody is kept for it so long; who still needs it asks again. */
const withholdMs = 10_000;

export interface RebalancerParts {
  readonly divider: Divider;
  readonly actual: ActualState;
  readonly steadyDemands: SteadyDemands;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Rebalancer {
  readonly #parts: RebalancerParts;
  readonly #unsubscribe: () => void;
  #next: { readonly whys: Set<string>; readonly cancel: () => void } | undefined;
  #restUntilMs = 0;
  #withheld: { readonly bytes: number; readonly untilMs: number } | undefined;
  #closed = false;

  constructor(parts: RebalancerParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.actual.onChange((change) => this.#onChange(change));
  }

  /** Divides anew soon, once for all who ask until then. @param why for the audit log, as a sentence without its end */
  rebalance(why: string): void {
    if (this.#closed) return;
    if (this.#next !== undefined) {
      this.#next.whys.add(why);
      return;
    }
    const whys = new Set([why]);
    const divide = (): void => {
      this.#next = undefined;
      void this.#divide([...whys].join('; '));
    };
    const restMs = this.#restUntilMs - this.#parts.clock.monotonicMs();
    if (restMs <= 0) {
      const immediate = setImmediate(divide);
      this.#next = { whys, cancel: () => clearImmediate(immediate) };
    } else {
      const timer = setTimeout(divide, restMs);
      this.#next = { whys, cancel: () => clearTimeout(timer) };
    }
  }

  /** The agent gave a lent grant back by itself, past what may be granted if need be: others lend now, and it does not for a while. */
  givenBack(id: InstanceId, why: 'thaw' | 'strain'): void {
    const { divider, steadyDemands } = this.#parts;
    divider.agentActed(id);
    steadyDemands.tookBack(id);
    this.rebalance(why === 'thaw' ? `${id} woke` : `${id} needed what it had lent`);
  }

  /** It has less than was asked for it, and needs more: others lend now. */
  strained(id: InstanceId): void {
    this.#parts.steadyDemands.needsMore(id);
    this.rebalance(`${id} needs more than it has`);
  }

  /**
   * Lowers grants of those that would not miss it now, without ending anybody, and keeps them low for some seconds.
   * @param bytes of memory, at most
   * @returns by how many bytes grants were lowered, as the kernel holds them
   */
  async makeRoom(bytes: number, why: string): Promise<number> {
    const { divider, actual, clock } = this.#parts;
    let granted = 0;
    let lendable = 0;
    for (const tracked of actual.all()) {
      const own = promisedMemory(tracked);
      granted += own;
      lendable += Math.max(0, own - this.#keptBytes(tracked.spec.id, false));
    }
    const wanted = Math.min(bytes, lendable);
    if (wanted <= 0 || divider.grantableBytes === Number.POSITIVE_INFINITY) return 0;
    this.#withheld = {
      bytes: Math.max(0, divider.grantableBytes - granted) + wanted,
      untilMs: clock.monotonicMs() + withholdMs,
    };
    divider.withhold(this.#withheld.bytes);
    return divider.divide(why);
  }

  /** What can not be taken from an instance by lending, for one that waits to start: what it demands, in bytes of memory. */
  keptBytes(id: InstanceId): number {
    return this.#keptBytes(id, true);
  }

  /** While somebody has less than it asks for, what is demanded is looked at again; otherwise nothing is done. */
  tick(): void {
    if (this.#withheld !== undefined && this.#parts.clock.monotonicMs() >= this.#withheld.untilMs) {
      this.#withheld = undefined;
      this.#parts.divider.withhold(0);
      this.rebalance('room that was made is not needed any more');
    }
    if (this.#parts.divider.isShort) this.rebalance('what is demanded has changed');
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    this.#next?.cancel();
  }

  #keptBytes(id: InstanceId, isHurried: boolean): number {
    const { actual, steadyDemands } = this.#parts;
    const tracked = actual.get(id);
    if (tracked === undefined) return 0;
    const own = promisedMemory(tracked);
    if (tracked.life.phase !== 'serving') return own;
    return Math.min(own, steadyDemands.of(tracked, isHurried).memory ?? own);
  }

  async #divide(why: string): Promise<void> {
    const { divider, clock, log } = this.#parts;
    // Told by the division before: that one is about as large.
    this.#restUntilMs = clock.monotonicMs() + divider.planMs * restTimes;
    await divider
      .divide(why)
      .catch((thrown: unknown) => log.warn({ err: thrown }, 'grants could not be divided anew'));
  }

  #onChange(change: Change): void {
    const { divider, steadyDemands } = this.#parts;
    const { spec, life } = change.tracked;
    if (change.type === 'gone') {
      steadyDemands.forget(spec.id);
      this.rebalance(`${spec.id} ended`);
      return;
    }
    const { before } = change;
    if (before?.life.phase !== life.phase) {
      this.rebalance(`${spec.id} is ${life.phase}`);
      return;
    }
    const rests = (of: Tracked): boolean => seenOf(of)?.state === 'hibernated';
    if (rests(before) !== rests(change.tracked)) {
      this.rebalance(`${spec.id} ${rests(before) ? 'woke' : 'is hibernated'}`);
      return;
    }
    if (!divider.isShort) return;
    const woke =
      (before.idle && !change.tracked.idle) ||
      (seenOf(before)?.state === 'frozen' && seenOf(change.tracked)?.state !== 'frozen');
    if (woke) this.rebalance(`${spec.id} woke`);
  }
}
