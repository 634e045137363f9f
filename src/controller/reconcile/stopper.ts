// Ends instances: nothing new for them, what is in flight ends, then the agent stops them. Owns the way out of
// every life; whoever calls it says why. Never gives up: an instance that was to go is gone or the agent is.
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { Logger } from '../../sys/log.ts';
import type { AgentLink } from '../agent-link.ts';
import type { Tuning } from '../config.ts';
import type { Gateways } from '../routes/gateways.ts';
import type { ActualState } from '../state/actual.ts';

/** Beyond a function's own timeout: the gateway needs a moment to answer for the last invocation. */
const retireMarginMs = 1_000;
const retryMs = 200;
/** The agent answers a stop when the groups are gone; killing and removing take it a few seconds at worst. */
const stopMarginMs = 20_000;

export interface StopperParts {
  readonly link: AgentLink;
  readonly actual: ActualState;
  readonly gateways: Pick<Gateways, 'retire'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Tuning;
}

export class Stopper {
  readonly #parts: StopperParts;
  readonly #ending = new Map<InstanceId, Promise<void>>();
  readonly #starts = new Map<InstanceId, Promise<void>>();

  constructor(parts: StopperParts) {
    this.#parts = parts;
  }

  /** The call that starts it may still be unanswered when the instance is to stop: it is ended after that answer, too. */
  startUnderWay(id: InstanceId, call: Promise<unknown>): void {
    const settled = call.then(
      () => undefined,
      () => undefined,
    );
    this.#starts.set(id, settled);
    void settled.then(() => this.#starts.delete(id));
  }

  /** Lets what is in flight end, then stops. Resolves when it is gone; asking again joins. */
  retire(id: InstanceId, why: string): Promise<void> {
    const tracked = this.#parts.actual.get(id);
    if (tracked === undefined) return Promise.resolve();
    const { life } = tracked;
    // One that starts and can be reached may have been sent what it begins with, and has begun before that is known here.
    const known = life.phase === 'serving' ? life.known : life.phase === 'starting' ? life.reachable : null;
    if (known === null) return this.stop(id, why);
    this.#parts.actual.set({ ...tracked, life: { phase: 'retiring', known, why } });
    return this.#once(id, async () => {
      const { gateways, clock, tuning } = this.#parts;
      const patienceMs =
        tracked.spec.kind === 'function' ? tracked.spec.timeoutMs + retireMarginMs : tuning.appGraceMs;
      await gateways.retire([id], clock.nowMs() + patienceMs);
      await this.#stop(id, why);
    });
  }

  /** Stops now, within the instance's grace. Resolves when it is gone; asking again joins. */
  stop(id: InstanceId, why: string, graceMs?: number): Promise<void> {
    const tracked = this.#parts.actual.get(id);
    if (tracked === undefined) return Promise.resolve();
    if (tracked.life.phase === 'waiting') {
      this.#parts.actual.remove(id, why);
      return Promise.resolve();
    }
    if (tracked.life.phase === 'stopping' || tracked.life.phase === 'retiring') {
      return this.#ending.get(id) ?? this.#once(id, () => this.#stop(id, why, graceMs));
    }
    return this.#once(id, () => this.#stop(id, why, graceMs));
  }

  #once(id: InstanceId, end: () => Promise<void>): Promise<void> {
    const ending = end().finally(() => this.#ending.delete(id));
    this.#ending.set(id, ending);
    return ending;
  }

  async #stop(id: InstanceId, why: string, grace?: number): Promise<void> {
    const { actual, tuning } = this.#parts;
    const tracked = actual.get(id);
    if (tracked === undefined) return;
    const { known } = tracked.life;
    actual.set({ ...tracked, life: { phase: 'stopping', known, why } });
    const graceMs = grace ?? (tracked.spec.kind === 'app' ? tuning.appGraceMs : tuning.functionGraceMs);
    await this.#callStop(id, graceMs, why);
    const start = this.#starts.get(id);
    if (start !== undefined) {
      await start;
      await this.#callStop(id, graceMs, why);
    }
    actual.remove(id, why);
  }

  /** Until the agent says that it is gone, or has been told so by an exit. */
  async #callStop(id: InstanceId, graceMs: number, why: string): Promise<void> {
    const { link, actual, log } = this.#parts;
    for (;;) {
      if (link.closed) return;
      try {
        await link.agent.call('stop', { id, graceMs, reason: why }, { timeoutMs: graceMs + stopMarginMs });
        return;
      } catch (thrown) {
        if (thrown instanceof BellowsError && thrown.code === 'NotFound') return;
        if (actual.get(id) === undefined) return;
        log.warn({ err: thrown, instance: id }, 'an instance could not be stopped yet; trying again');
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
  }
}
