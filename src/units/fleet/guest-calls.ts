// The calls into one unit's guest, and when it was heard of last: what tells a slow guest from one that is gone. Owns
// noting that; what follows from silence is pulse.ts's and stop-inside.ts's.
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { GuestProtocol } from '../../protocol/guest.ts';
import type { Caller, Params, ResultOf } from '../../protocol/rpc.ts';

type Methods = GuestProtocol['methods'];

export class GuestCalls implements Caller<GuestProtocol> {
  readonly #guest: Caller<GuestProtocol>;
  readonly #clock: Clock;
  #heardAtMs: number;

  constructor(guest: Caller<GuestProtocol>, clock: Clock) {
    this.#guest = guest;
    this.#clock = clock;
    this.#heardAtMs = clock.monotonicMs();
  }

  /** By the monotonic clock. */
  get heardAtMs(): number {
    return this.#heardAtMs;
  }

  /** It said something by itself. */
  heard(): void {
    this.#heardAtMs = this.#clock.monotonicMs();
  }

  async call<M extends keyof Methods>(
    name: M,
    params: Params<Methods[M]>,
    options?: { readonly timeoutMs?: number },
  ): Promise<ResultOf<Methods[M]>> {
    try {
      const answer = await this.#guest.call(name, params, options);
      this.heard();
      return answer;
    } catch (thrown) {
      // The link's own errors say this; any other is the guest's answer.
      if (!(thrown instanceof BellowsError && thrown.code === 'Unavailable')) this.heard();
      throw thrown;
    }
  }
}
