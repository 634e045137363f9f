// Clients that call again and again, and keep the account of it: every answer is awaited and looked at,
// nothing is tried again.
import { setTimeout as pause } from 'node:timers/promises';
import { inspect } from 'node:util';

/** Who calls has something else to do as well: the machine is not to be busy with callers alone. */
const pauseMs = 10;

export class SteadyCallers {
  readonly #callers: Promise<void>[];
  readonly #counts: number[];
  readonly #errors: string[] = [];
  #stopped = false;

  /** @param call rejects when the answer is not as it should be; told how many there were before, by this caller */
  constructor(count: number, call: (caller: number, before: number) => Promise<void>) {
    this.#counts = Array.from({ length: count }, () => 0);
    this.#callers = this.#counts.map((_, caller) => this.#run(caller, call));
  }

  async #run(caller: number, call: (caller: number, before: number) => Promise<void>): Promise<void> {
    while (!this.#stopped) {
      try {
        await call(caller, this.#counts[caller]!);
      } catch (thrown) {
        this.#errors.push(inspect(thrown));
      }
      this.#counts[caller]! += 1;
      await pause(pauseMs);
    }
  }

  /** The fewest calls that one of them has made. */
  get fewest(): number {
    return Math.min(...this.#counts);
  }

  get errors(): readonly string[] {
    return this.#errors;
  }

  /** Resolves when the last calls are answered. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#callers);
  }
}
