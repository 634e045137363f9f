// Asks the controller for instances of one function: how many at once, how long a start takes, and what a refusal means.
// Owns the calls under way. Whether more are needed is src/allocator/scale.ts.
import { instancesToStart } from '../../allocator/scale.ts';
import { BellowsError } from '../../base/errors.ts';
import { startError } from '../../protocol/agent.ts';
import type { InvokeTuning } from '../config.ts';
import type { PoolEffects } from './effects.ts';
import type { Failure } from './invocation.ts';
import { presentServiceMs } from './service-times.ts';
import { startBudget } from './start-budget.ts';

/** Weight of a newly measured start. */
const smoothing = 0.2;

export interface Demand {
  readonly generation: string;
  readonly running: number;
  /** Connecting or thawing: there soon without a start. */
  readonly coming: number;
  readonly waiting: number;
  /** How long the first of them has waited while as many served as do now, and how many before it were taken up meanwhile. */
  readonly head: { readonly waitedMs: number; readonly takenUp: number };
  /** Usual time of an invocation; null when none has ended yet. */
  readonly averageMs: number | null;
  /** How long each of the present ones has run. */
  readonly runningMs: readonly number[];
  readonly cap: number;
}

export interface StarterHandlers {
  /** Nobody who waits can be helped by waiting longer. */
  readonly onFailure: (failure: Failure) => void;
  /** A start ended, well or not. */
  readonly onChange: () => void;
}

export class Starter {
  readonly #effects: Pick<PoolEffects, 'clock' | 'acquire' | 'spare'>;
  readonly #tuning: InvokeTuning;
  readonly #handlers: StarterHandlers;
  /** When each that is under way was asked for, monotonic, oldest first. */
  readonly #underWay = new Set<{ readonly beganMs: number }>();
  /** How many of them the controller was told are not needed. */
  #spared = 0;
  /** Of the starts that ended; undefined before the first. */
  #averageMs: number | undefined;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  #whyNone: Failure | undefined;

  constructor(
    effects: Pick<PoolEffects, 'clock' | 'acquire' | 'spare'>,
    tuning: InvokeTuning,
    handlers: StarterHandlers,
  ) {
    this.#effects = effects;
    this.#tuning = tuning;
    this.#handlers = handlers;
  }

  /** Why the last start was refused; undefined when it was not. */
  get whyNone(): Failure | undefined {
    return this.#whyNone;
  }

  /** Starts what is worth it. */
  consider(demand: Demand): void {
    const { clock } = this.#effects;
    if (clock.monotonicMs() < this.#pausedUntilMs) return;
    const { running, waiting, head, averageMs, runningMs } = demand;
    const starting = this.#underWay.size + demand.coming;
    const startMs = this.#startMs();
    const serviceMs = presentServiceMs(averageMs, runningMs, startMs);
    const cap = startBudget({ running, serviceMs, startMs }, demand.cap);
    const more = instancesToStart(
      { busy: running, idle: 0, starting, waiting, head, serviceMs, startMs },
      cap,
    );
    for (let started = 0; started < more; started += 1) void this.#start(demand.generation, waiting);
  }

  /** Says that fewer wait than starts are under way, once for each that is not needed any more. */
  settle(waiting: number): void {
    const spare = Math.max(0, this.#underWay.size - waiting);
    if (spare > this.#spared) this.#effects.spare(waiting);
    this.#spared = spare;
  }

  /** What one takes now: those under way may have taken longer than is usual. */
  #startMs(): number {
    const usualMs = this.#averageMs ?? this.#tuning.firstStartMs;
    const [oldest] = this.#underWay;
    if (oldest === undefined) return usualMs;
    return Math.max(usualMs, this.#effects.clock.monotonicMs() - oldest.beganMs);
  }

  async #start(generation: string, waiting: number): Promise<void> {
    const { clock } = this.#effects;
    const start = { beganMs: clock.monotonicMs() };
    this.#underWay.add(start);
    try {
      const acquired = await this.#effects.acquire(generation, waiting);
      if (acquired === null) return;
      const tookMs = clock.monotonicMs() - start.beganMs;
      const before = this.#averageMs ?? tookMs;
      this.#averageMs = before + smoothing * (tookMs - before);
      this.#whyNone = undefined;
    } catch (thrown) {
      this.#pausedUntilMs = clock.monotonicMs() + this.#tuning.acquirePauseMs;
      this.#refused(thrown);
    } finally {
      this.#underWay.delete(start);
      this.#handlers.onChange();
    }
  }

  #refused(thrown: unknown): void {
    const code = thrown instanceof BellowsError ? thrown.code : 'Internal';
    const message = thrown instanceof Error ? thrown.message : 'No instance could be started.';
    switch (code) {
      case 'StartFailed':
        this.#handlers.onFailure({ kind: 'functionError', payload: startPayload(message), timedOut: false });
        return;
      case 'NotFound':
        this.#handlers.onFailure({ kind: 'gone' });
        return;
      case 'LimitReached':
        // One may end meanwhile: whoever waits goes on waiting.
        this.#whyNone = { kind: 'throttled', reason: 'ConcurrentInvocationLimitExceeded', message };
        return;
      default:
        this.#whyNone = { kind: 'unavailable', message };
    }
  }
}

/** The error's message is Lambda's payload, as the controller gives it; anything else is put into one. */
function startPayload(message: string): string {
  try {
    if (startError.safeParse(JSON.parse(message)).success) return message;
  } catch {
    // Plain words.
  }
  return JSON.stringify({ errorType: 'Runtime.Unknown', errorMessage: message, trace: [] });
}
