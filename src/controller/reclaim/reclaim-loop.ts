// When memory is taken back without being asked for: by what the host says at each tick, and at once when the kernel says that
// memory is short, or a start found no room. Owns these moments, how far each may go, and pausing while it brings nothing.
// What is taken from whom is ./reclaimer.ts.
//
//   tick, pressure, no room ─▶ need? ─▶ trim, drop, claim, end ─▶ lower grants (rebalancer) when grants are what is short
import { reclaimNeed, type ReclaimNeed } from '../../allocator/reclaim/need.ts';
import { defaultVictimPolicy } from '../../allocator/reclaim/victims.ts';
import type { Clock } from '../../base/clock.ts';
import { BellowsError } from '../../base/errors.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { Resources } from '../../model/resources.ts';
import type { Shortage } from '../../protocol/agent.ts';
import type { Logger } from '../../sys/log.ts';
import type { AgentLink } from '../agent-link.ts';
import type { AuditLog } from '../audit.ts';
import type { Tuning } from '../config.ts';
import type { Measures, Sample } from '../measures.ts';
import type { Rebalancer } from '../rebalance/rebalancer.ts';
import type { ActualState, Tracked } from '../state/actual.ts';
import { worthwhileBytes } from './expected-gain.ts';
import { observeHost } from './observation.ts';
import { Pauses } from './pauses.ts';
import type { RecentUse } from './recent-use.ts';
import type { Reclaimer } from './reclaimer.ts';

/** Who waits for room asks again within half a second: what was asked longer ago found room, or gave up. */
const askedFreshMs = 2_000;
/** What was wanted came, as good as nothing of it: less than this part. */
const ofUseShare = 0.1;

export interface ReclaimLoopParts {
  readonly link: Pick<AgentLink, 'hello' | 'connected'>;
  readonly actual: ActualState;
  readonly measures: Pick<Measures, 'sample' | 'last'>;
  readonly demandOf: (tracked: Tracked) => Resources;
  readonly reclaimer: Pick<Reclaimer, 'run'>;
  readonly rebalancer: Pick<Rebalancer, 'makeRoom'>;
  readonly recent: RecentUse;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tuning: Pick<Tuning, 'hostReserveBytes' | 'reclaimIdleMs'>;
}

/** How far a run may go. What is only expected is no reason to disturb what is in use, nor to end anything. */
interface Mandate {
  readonly why: string;
  readonly wantedBytes: number;
  readonly mayDisturb: boolean;
  readonly mayEnd: boolean;
  /** Who idles for less is in a pause between two calls, and asked after those who idle. */
  readonly idleThresholdMs: number;
}

export class ReclaimLoop {
  readonly #parts: ReclaimLoopParts;
  readonly #pauses = new Pauses();
  readonly #roomPauses = new Pauses();
  #roomAsked = { bytes: 0, atMs: Number.NEGATIVE_INFINITY };
  #running: Promise<void> | undefined;
  /** Too little was found at the last look: told when that begins, not with every run. */
  #isShort = false;
  #closed = false;

  constructor(parts: ReclaimLoopParts) {
    this.#parts = parts;
    parts.actual.onChange((change) => {
      const fellIdle = change.type === 'changed' && change.tracked.idle && change.before?.idle === false;
      // Who fell idle may have something to give by now.
      if (fellIdle) this.#roomPauses.forget();
    });
  }

  /** With each sample. */
  tick(sample: Sample): void {
    const { recent, actual, clock } = this.#parts;
    recent.note(sample, actual, clock.nowMs());
    this.#look(sample);
  }

  /** The kernel says that somebody waits for memory, before the next tick does. */
  onPressure({ why, availableBytes, stalledMicros }: Shortage): void {
    this.#parts.audit.note({
      type: 'reclaim.pressure',
      message: `Memory is short on the host: ${why}; ${humanBytes(availableBytes)} are available.`,
      data: { why, availableBytes, stalledMicros },
    });
    this.#pauses.forget();
    this.#parts.measures.sample(0).then(
      // The average of ten seconds follows later: what began this moment counts as if it had gone on.
      (sample) => this.#look(withPressure(sample)),
      (thrown: unknown) => this.#parts.log.warn({ err: thrown }, 'the host could not be looked at'),
    );
  }

  /**
   * Somebody waits for this much memory: acts at once, and resolves when it has done what can be done now. Asking again while
   * it is at that joins; soon after it found nothing, it does nothing.
   * @param why a half sentence for the audit log
   * @param mayEnd whether functions that are idle may be ended for it
   */
  async roomWanted(bytes: number, why: string, { mayEnd }: { readonly mayEnd: boolean }): Promise<void> {
    const { clock } = this.#parts;
    this.#roomAsked = { bytes: Math.max(bytes, this.#waitingBytes()), atMs: clock.monotonicMs() };
    if (!this.#roomPauses.mayRun(clock.monotonicMs())) return;
    await this.#running;
    // Who idles at all would be ended otherwise.
    await this.#begin(
      { why, wantedBytes: bytes, mayDisturb: true, mayEnd, idleThresholdMs: 0 },
      this.#roomPauses,
      async () => {
        // What was given up may be lent now. Where the host itself has too little, lower grants bring nothing.
        if (!this.#isHostShortOf(bytes)) await this.#parts.rebalancer.makeRoom(bytes, why);
      },
    );
  }

  /**
   * One that runs waits for this much that others are granted: what they do not need is taken back from them, for the next
   * division to lend. Nobody is ended for it.
   */
  async growthWaits(bytes: number, why: string): Promise<void> {
    if (!this.#roomPauses.mayRun(this.#parts.clock.monotonicMs())) return;
    await this.#running;
    await this.#begin(
      { why, wantedBytes: bytes, mayDisturb: true, mayEnd: false, idleThresholdMs: 0 },
      this.#roomPauses,
      async () => undefined,
    );
  }

  close(): void {
    this.#closed = true;
  }

  #look(sample: Sample): void {
    const { clock } = this.#parts;
    if (this.#running !== undefined || !this.#pauses.mayRun(clock.monotonicMs())) return;
    const need = this.#need(sample);
    if (need.because === null || need.amount < worthwhileBytes) {
      this.#isShort = false;
      return;
    }
    const expected = need.because === 'coming demand';
    void this.#begin(
      {
        why: wordsOf(need.because),
        wantedBytes: need.amount,
        mayDisturb: !expected,
        mayEnd: !expected,
        idleThresholdMs: this.#parts.tuning.reclaimIdleMs,
      },
      this.#pauses,
      async () => undefined,
    );
  }

  #need(sample: Sample): ReclaimNeed {
    const { link, actual, demandOf, tuning } = this.#parts;
    const capacityBytes = Math.min(
      link.hello?.capacity.memory ?? Number.POSITIVE_INFINITY,
      sample.host.memoryTotalBytes,
    );
    return reclaimNeed(
      observeHost({
        sample,
        instances: actual.all(),
        capacityBytes,
        reserveBytes: tuning.hostReserveBytes,
        demandOf,
        waitingBytes: this.#waitingBytes(),
      }),
    );
  }

  /** As a start is judged: half of what it asks for is expected to be used. */
  #isHostShortOf(bytes: number): boolean {
    const { measures, tuning } = this.#parts;
    const availableBytes = measures.last?.host.memoryAvailableBytes ?? Number.POSITIVE_INFINITY;
    return availableBytes - tuning.hostReserveBytes < bytes / 2;
  }

  #waitingBytes(): number {
    const { bytes, atMs } = this.#roomAsked;
    return this.#parts.clock.monotonicMs() - atMs <= askedFreshMs ? bytes : 0;
  }

  /** Joins a run that is under way. */
  #begin(mandate: Mandate, pauses: Pauses, afterwards: () => Promise<void>): Promise<void> {
    this.#running ??= this.#run(mandate, pauses, afterwards).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(
    { why, wantedBytes, mayDisturb, mayEnd, idleThresholdMs }: Mandate,
    pauses: Pauses,
    afterwards: () => Promise<void>,
  ): Promise<void> {
    const { reclaimer, clock, log } = this.#parts;
    if (this.#closed) return;
    try {
      const { claimedBytes, missingBytes } = await reclaimer.run({
        wantedBytes,
        from: null,
        policy: {
          idleThresholdMs,
          leastUsedShare: mayDisturb ? defaultVictimPolicy.leastUsedShare : 0,
        },
        mayEnd,
        why,
      });
      pauses.ran(claimedBytes >= wantedBytes * ofUseShare, clock.monotonicMs());
      // What is only expected may still turn out otherwise.
      if (mayEnd) this.#tellShort(missingBytes, wantedBytes, why);
      await afterwards();
    } catch (thrown) {
      pauses.ran(false, clock.monotonicMs());
      // An agent that is away is back soon, and the next tick looks again.
      if (!(thrown instanceof BellowsError) || thrown.code !== 'Unavailable')
        log.error({ err: thrown }, 'memory could not be taken back');
    }
  }

  #tellShort(missingBytes: number, wantedBytes: number, why: string): void {
    const isShort = missingBytes > 0;
    if (isShort && !this.#isShort)
      this.#parts.audit.note({
        type: 'reclaim.short',
        message: `${humanBytes(missingBytes)} of ${humanBytes(wantedBytes)} of memory could not be taken back from anybody, though ${why}.`,
        data: { missingBytes, wantedBytes, why },
      });
    this.#isShort = isShort;
  }
}

function withPressure(sample: Sample): Sample {
  return { ...sample, host: { ...sample.host, memoryPressurePercent: 100 } };
}

function wordsOf(because: NonNullable<ReclaimNeed['because']>): string {
  switch (because) {
    case 'unmet grants':
      return 'instances wait for more memory';
    case 'coming demand':
      return 'instances are expected to need more memory soon';
    case 'low watermark':
      return 'little memory is available on the host';
    case 'pressure':
      return 'processes on the host wait for memory';
  }
}
