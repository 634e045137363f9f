// Puts virtual machines on disk in which nothing has happened for as long as the operator says, whether or not their memory is
// needed. Owns when that is tried, one at a time. Which are quiet is ./quiet-machines.ts; for want of memory is ../reclaim.
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';
import type { Logger } from '../../sys/log.ts';
import type { AgentLink } from '../agent-link.ts';
import type { Tuning } from '../config.ts';
import type { QuietMachine, QuietMachines } from './quiet-machines.ts';

/** Some hundred MiB to a disk that may be busy. */
const hibernationMs = 60_000;
/** One that could not be put there, on a full disk for example, is not tried again at once. */
const afterFailureMs = 60_000;

export interface SleeperParts {
  readonly link: Pick<AgentLink, 'agent' | 'connected'>;
  readonly machines: Pick<QuietMachines, 'quietFor' | 'forget'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Pick<Tuning, 'hibernateAfterMs'>;
}

export class Sleeper {
  readonly #parts: SleeperParts;
  readonly #failedAtMs = new Map<UnitId, number>();
  #isAtIt = false;

  constructor(parts: SleeperParts) {
    this.#parts = parts;
  }

  tick(): void {
    const { link, machines, clock, log, tuning } = this.#parts;
    const { hibernateAfterMs } = tuning;
    if (hibernateAfterMs === null || this.#isAtIt || !link.connected) return;
    const nowMs = clock.monotonicMs();
    for (const [unit, atMs] of this.#failedAtMs)
      if (nowMs - atMs >= afterFailureMs) this.#failedAtMs.delete(unit);
    const next = machines.quietFor(hibernateAfterMs).find(({ unit }) => !this.#failedAtMs.has(unit));
    if (next === undefined) return;
    this.#isAtIt = true;
    this.#putToRest(next)
      .catch((thrown: unknown) => {
        // Whoever came meanwhile is served, and it is quiet for long again before it is tried again.
        if (thrown instanceof BellowsError && thrown.code === 'Conflict') return;
        this.#failedAtMs.set(next.unit, clock.monotonicMs());
        log.warn({ err: thrown, unit: next.unit }, 'a quiet machine could not be put on disk');
      })
      .finally(() => {
        this.#isAtIt = false;
      });
  }

  async #putToRest({ unit, quietMs, carriedPackets }: QuietMachine): Promise<void> {
    const { link, machines } = this.#parts;
    const why = `since nothing had happened in it for ${Math.round(quietMs / 1000)} s`;
    await link.agent.call('hibernate', { unit, why, carriedPackets }, { timeoutMs: hibernationMs });
    machines.forget(unit);
  }
}
