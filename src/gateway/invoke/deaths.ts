// What is answered for an invocation that an instance had begun and can not answer any more: it timed out, or died. Owns the
// words, the log's share of them, and those who wait for the reason of a death. Who is concerned is instances.ts.
import type { InstanceId } from '../../base/ids.ts';
import type { BrokenInvocation } from '../../protocol/agent.ts';
import { invokeFlag } from '../../protocol/instance.ts';
import type { InvokeTuning } from '../config.ts';
import type { PoolEffects } from './effects.ts';
import type { Failure, Invocation } from './invocation.ts';
import { Orphans, type Orphan } from './orphans.ts';
import { exitedPayload, exitWords, timedOutPayload, type Death } from './payloads.ts';

export class Deaths {
  readonly #effects: Pick<PoolEffects, 'logBroken' | 'discard'>;
  readonly #tuning: Pick<InvokeTuning, 'deathReasonMs'>;
  readonly #fail: (invocation: Invocation, failure: Failure) => void;
  readonly #orphans = new Orphans();

  constructor(
    effects: Pick<PoolEffects, 'logBroken' | 'discard'>,
    tuning: Pick<InvokeTuning, 'deathReasonMs'>,
    fail: (invocation: Invocation, failure: Failure) => void,
  ) {
    this.#effects = effects;
    this.#tuning = tuning;
    this.#fail = fail;
  }

  /** Its link broke while it ran this: the reason follows, or a general one is given. */
  linkBroke(id: InstanceId, orphan: Orphan): void {
    this.#orphans.add(id, orphan, this.#tuning.deathReasonMs, () => {
      this.reasonKnown(id, { reason: '', oomKilled: false });
      this.#effects.discard(id, 'its link broke while it ran an invocation');
    });
  }

  /** Why it is gone; nothing happens when nobody waits for that. */
  reasonKnown(id: InstanceId, death: Death): void {
    const orphan = this.#orphans.take(id);
    if (orphan !== undefined) this.died(id, orphan, death);
  }

  died(id: InstanceId, { invocation, ranMs }: Orphan, death: Death): void {
    const words = exitWords(death);
    const logTail = this.#logBroken(id, invocation, ranMs, { kind: 'exited', ...words });
    const payload = exitedPayload(invocation.requestId, words);
    this.#fail(invocation, { kind: 'functionError', payload, timedOut: false, logTail });
  }

  timedOut(id: InstanceId, invocation: Invocation, timeoutMs: number): void {
    const logTail = this.#logBroken(id, invocation, timeoutMs, { kind: 'timedOut', timeoutMs });
    const payload = timedOutPayload(invocation.requestId, timeoutMs);
    this.#fail(invocation, { kind: 'functionError', payload, timedOut: true, logTail });
  }

  /** @returns the log's tail for a caller who asked for it: nobody else waits */
  #logBroken(
    id: InstanceId,
    { requestId, flags }: Invocation,
    durationMs: number,
    cause: BrokenInvocation['cause'],
  ): Promise<Buffer> | undefined {
    const tail = this.#effects.logBroken(id, { requestId, durationMs, cause });
    return (flags & invokeFlag.logTail) === 0 ? undefined : tail;
  }
}
