// Whether a unit still lives: asks its guest, and when that does not answer, looks at what the host's kernel knows of its
// process. Owns that judgement and its deadlines. What follows for a unit that does not live is roster.ts's.
//
//   asked ──answered──▶ lives
//     ├── its process neither ran nor waited for the processor or a disk: it stands still ──▶ hung, after standstillMs
//     └── silent for hungAfterMs ──▶ hung, unless it said something else meanwhile: then it is only slow
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { ProcessActivity } from '../../sys/process-activity.ts';
import { keepClock } from '../vm/guest-clock.ts';
import type { FleetTuning } from './config.ts';
import type { GuestCalls } from './guest-calls.ts';

export interface PulseParts {
  readonly guest: GuestCalls;
  /** What the kernel knows of its process; undefined when it is gone. */
  readonly activity: () => ProcessActivity | undefined;
  readonly clock: Clock;
  readonly tuning: Pick<FleetTuning, 'hungAfterMs' | 'standstillMs'>;
}

/** Looks in the time after which a process stands still. */
const looks = 10;

/** Resolves with why it is taken for hung; with undefined for one that lives. Sets its clock on the way. */
export async function takePulse({ guest, activity, clock, tuning }: PulseParts): Promise<string | undefined> {
  const askedAtMs = clock.monotonicMs();
  const still = new Standstill(activity, clock, tuning.standstillMs);
  try {
    return await Promise.race([
      keepClock(guest, { timeoutMs: tuning.hungAfterMs }).then(() => undefined),
      still.noticed.then(
        () => `its guest did not answer and its process stood still for ${seconds(tuning.standstillMs)}`,
      ),
    ]);
  } catch (thrown) {
    // Loaded as a machine may be: an answer to somebody else is as good.
    if (guest.heardAtMs > askedAtMs) return undefined;
    return `its guest did not answer within ${seconds(tuning.hungAfterMs)} (${messageOf(thrown)})`;
  } finally {
    still.end();
  }
}

/**
 * A process that uses no processor, does not ask for one and waits for no disk, through all of a time in which it was asked
 * something: it was stopped, or its guest's processors are. A starved one asks for the processor; a slow one uses it.
 */
class Standstill {
  readonly noticed: Promise<void>;
  readonly #timer: NodeJS.Timeout;

  constructor(activity: () => ProcessActivity | undefined, clock: Clock, standstillMs: number) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.noticed = promise;
    const everyMs = standstillMs / looks;
    let last = activity();
    let lookedAtMs = clock.monotonicMs();
    let sinceMs = lookedAtMs;
    this.#timer = setInterval(() => {
      const now = activity();
      const nowMs = clock.monotonicMs();
      const stands = now !== undefined && last !== undefined && !now.wants && now.cpuTicks === last.cpuTicks;
      // Where this process itself was held up, an answer may have come that it has not read yet.
      const isLate = nowMs - lookedAtMs > everyMs * 2;
      if (!stands || isLate) sinceMs = nowMs;
      else if (nowMs - sinceMs >= standstillMs) resolve();
      last = now;
      lookedAtMs = nowMs;
    }, everyMs).unref();
  }

  end(): void {
    clearInterval(this.#timer);
  }
}

const seconds = (ms: number): string => `${ms / 1000} s`;
