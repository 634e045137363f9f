// One process that is to run for as long as the supervisor does: started, started again when it ends, stopped.
// Owns the process and its back-off. Does not own what order the three are stopped in (supervisor.ts).
//
//   idle ──start──▶ running ──ends──▶ pausing ──time──▶ running
//                      │                 │
//                     stop              stop
//                      ▼                 ▼
//                  stopping ──ends──▶  idle
import { systemClock, type Clock } from '../base/clock.ts';
import type { ProcessIdentity } from '../sys/process.ts';
import { nextPauseMs } from './back-off.ts';
import { launch, type End, type Launched, type LaunchSpec } from './launch.ts';

export interface ChildSpec extends Omit<LaunchSpec, 'env'> {
  readonly name: string;
  /** Asked at each start. */
  readonly env: () => NodeJS.ProcessEnv;
}

export interface ChildEnd extends End {
  /** When it is started again; null when it was stopped. */
  readonly pauseMs: number | null;
}

export interface ChildListener {
  readonly onStart: (identity: ProcessIdentity) => void;
  readonly onEnd: (end: ChildEnd) => void;
}

type State =
  | { readonly is: 'idle' }
  | { readonly is: 'running'; readonly launched: Launched; readonly startedAtMs: number }
  | { readonly is: 'pausing'; readonly timer: NodeJS.Timeout }
  | { readonly is: 'stopping'; readonly launched: Launched };

export class SupervisedChild {
  readonly #spec: ChildSpec;
  readonly #listener: ChildListener;
  readonly #clock: Clock;
  #state: State = { is: 'idle' };
  #pauseMs: number | null = null;
  #unplannedEnds = 0;

  constructor(spec: ChildSpec, listener: ChildListener, clock: Clock = systemClock) {
    this.#spec = spec;
    this.#listener = listener;
    this.#clock = clock;
  }

  get name(): string {
    return this.#spec.name;
  }

  /** How often it ended without being told to. */
  get unplannedEnds(): number {
    return this.#unplannedEnds;
  }

  /** The process that runs; undefined while none does, or when it is being stopped. */
  get running(): Launched | undefined {
    return this.#state.is === 'running' ? this.#state.launched : undefined;
  }

  /** Runs it now, also when it is waiting to be started again. Does nothing when it runs or is being stopped. */
  start(): void {
    if (this.#state.is === 'pausing') clearTimeout(this.#state.timer);
    else if (this.#state.is !== 'idle') return;
    this.#run(launch({ ...this.#spec, env: this.#spec.env() }));
  }

  /** One more of it, which is not kept running before it takes the place of the present one. */
  launchAnother(more: NodeJS.ProcessEnv): Launched {
    return launch({ ...this.#spec, env: { ...this.#spec.env(), ...more } });
  }

  /**
   * From now on this one is kept running. @returns the one before, whose end means nothing any more; undefined when none ran.
   * @throws Error when it was told to stop meanwhile
   */
  replaceBy(next: Launched): Launched | undefined {
    if (this.#state.is === 'idle' || this.#state.is === 'stopping')
      throw new Error(`the ${this.name} was told to stop`);
    const former = this.running;
    if (this.#state.is === 'pausing') clearTimeout(this.#state.timer);
    this.#run(next);
    return former;
  }

  /** Asks it to end, and makes it when it has not within `graceMs`. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    if (this.#state.is === 'pausing') {
      clearTimeout(this.#state.timer);
      this.#state = { is: 'idle' };
      return;
    }
    if (this.#state.is === 'idle') return;
    const { launched } = this.#state;
    if (this.#state.is === 'running') {
      this.#state = { is: 'stopping', launched };
      launched.process.kill('SIGTERM');
    }
    const timer = setTimeout(() => launched.process.kill('SIGKILL'), graceMs);
    await launched.ended;
    clearTimeout(timer);
  }

  #run(launched: Launched): void {
    this.#state = { is: 'running', launched, startedAtMs: this.#clock.monotonicMs() };
    void launched.ended.then((end) => this.#ended(launched, end));
    if (launched.identity !== undefined) this.#listener.onStart(launched.identity);
  }

  #ended(launched: Launched, end: End): void {
    if (this.#state.is === 'stopping') {
      if (this.#state.launched !== launched) return;
      this.#state = { is: 'idle' };
      this.#listener.onEnd({ ...end, pauseMs: null });
      return;
    }
    if (this.#state.is !== 'running' || this.#state.launched !== launched) return;
    this.#unplannedEnds += 1;
    this.#pauseMs = nextPauseMs(this.#pauseMs, this.#clock.monotonicMs() - this.#state.startedAtMs);
    this.#state = { is: 'pausing', timer: setTimeout(() => this.start(), this.#pauseMs) };
    this.#listener.onEnd({ ...end, pauseMs: this.#pauseMs });
  }
}
