// How many unbound processes the agent keeps ready. Owns when instances were started lately; the rule is
// src/allocator/pool-size.ts.
import { bindHistoryMs, defaultPoolPolicy, poolSize, type PoolPolicy } from '../allocator/pool-size.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../sys/log.ts';
import type { AgentLink } from './agent-link.ts';
import type { ActualState } from './state/actual.ts';

export class WarmPool {
  readonly #link: AgentLink;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #policy: PoolPolicy;
  #bindTimesMs: number[] = [];
  #asked: number | undefined;

  constructor(parts: {
    readonly link: AgentLink;
    readonly actual: ActualState;
    readonly clock: Clock;
    readonly log: Logger;
    /** The most processes, if the operator said so. */
    readonly maximum?: number | undefined;
  }) {
    this.#link = parts.link;
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#policy = { ...defaultPoolPolicy, maximum: parts.maximum ?? defaultPoolPolicy.maximum };
    parts.actual.onChange((change) => {
      if (change.type !== 'changed' || change.tracked.spec.runtime === 'custom') return;
      const began = change.tracked.life.phase === 'starting' && change.before?.life.phase === 'waiting';
      if (began) this.#bindTimesMs.push(this.#clock.monotonicMs());
    });
  }

  /** After the agent came back it does not know what was asked. */
  forget(): void {
    this.#asked = undefined;
  }

  /** @param availableBytes the host's free memory, by the kernel's figure */
  async adjust(availableBytes: number): Promise<void> {
    const { hello } = this.#link;
    if (hello === null || !hello.capabilities.warmPool || !this.#link.connected) return;
    const nowMs = this.#clock.monotonicMs();
    this.#bindTimesMs = this.#bindTimesMs.filter((timeMs) => nowMs - timeMs <= bindHistoryMs(this.#policy));
    const size = poolSize(this.#bindTimesMs, nowMs, availableBytes, this.#policy);
    if (size === this.#asked) return;
    await this.#link.agent.call('setPool', { size });
    this.#asked = size;
    this.#log.debug({ size }, 'warm pool');
  }
}
