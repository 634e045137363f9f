// One process that is to run for as long as the supervisor does: started, started again when it ends, stopped.
// Owns the process and its back-off. Does not own what order the three are stopped in (supervisor.ts).
//
//   idle ──start──▶ running ──ends──▶ pausing ──time──▶ running
//                      │                 │
//                     stop              stop
//                      ▼                 ▼
//                  stopping ──ends──▶  idle
import { spawn, type ChildProcess } from 'node:child_process';
import { identify, type ProcessIdentity } from '../sys/process.ts';
import { systemClock, type Clock } from '../base/clock.ts';
import { nextPauseMs } from './back-off.ts';

export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** An open file that standard output and error are appended to: it outlives us, as the child may. */
  readonly outputFd: number;
}

export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** When it is started again; null when it was stopped. */
  readonly pauseMs: number | null;
}

export interface ChildListener {
  readonly onStart: (identity: ProcessIdentity) => void;
  readonly onEnd: (end: ChildEnd) => void;
}

type State =
  | { readonly is: 'idle' }
  | {
      readonly is: 'running';
      readonly process: ChildProcess;
      readonly startedAtMs: number;
      readonly ended: Promise<void>;
    }
  | { readonly is: 'pausing'; readonly timer: NodeJS.Timeout }
  | { readonly is: 'stopping'; readonly process: ChildProcess; readonly ended: Promise<void> };

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

  /** Runs it now, also when it is waiting to be started again. Does nothing when it runs or is being stopped. */
  start(): void {
    if (this.#state.is === 'pausing') clearTimeout(this.#state.timer);
    else if (this.#state.is !== 'idle') return;
    // A group and session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops it in order.
    const child = spawn(this.#spec.command, this.#spec.args, {
      env: this.#spec.env,
      stdio: ['ignore', this.#spec.outputFd, this.#spec.outputFd],
      detached: true,
    });
    const ended = new Promise<void>((resolve) => {
      const settle = (code: number | null, signal: NodeJS.Signals | null): void => {
        this.#ended(child, code, signal);
        resolve();
      };
      child.once('exit', settle);
      child.once('error', () => {
        // It could not even be started; there will be no 'exit'.
        if (child.pid === undefined) settle(null, null);
      });
    });
    this.#state = { is: 'running', process: child, startedAtMs: this.#clock.monotonicMs(), ended };
    const identity = child.pid === undefined ? undefined : identify(child.pid);
    if (identity !== undefined) this.#listener.onStart(identity);
  }

  /** Asks it to end, and makes it when it has not within `graceMs`. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    if (this.#state.is === 'pausing') {
      clearTimeout(this.#state.timer);
      this.#state = { is: 'idle' };
      return;
    }
    if (this.#state.is === 'idle') return;
    const { process, ended } = this.#state;
    if (this.#state.is === 'running') {
      this.#state = { is: 'stopping', process, ended };
      process.kill('SIGTERM');
    }
    const timer = setTimeout(() => process.kill('SIGKILL'), graceMs);
    await ended;
    clearTimeout(timer);
  }

  #ended(process: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#state.is === 'stopping') {
      this.#state = { is: 'idle' };
      this.#listener.onEnd({ code, signal, pauseMs: null });
      return;
    }
    if (this.#state.is !== 'running' || this.#state.process !== process) return;
    this.#unplannedEnds += 1;
    this.#pauseMs = nextPauseMs(this.#pauseMs, this.#clock.monotonicMs() - this.#state.startedAtMs);
    this.#state = { is: 'pausing', timer: setTimeout(() => this.start(), this.#pauseMs) };
    this.#listener.onEnd({ code, signal, pauseMs: this.#pauseMs });
  }
}
