// Which moment of the bench it is, told to all who count by it, and kept: what was logged meanwhile is counted by it, too.
import type { ClientProcess } from './client-process.ts';
import type { Moment, Phase } from './protocol.ts';

/** A change is done, and what it left behind is not: an instance that is cold, others that were started beside it. */
const aftermathMs = 2_000;

export class Moments {
  readonly #clients: readonly ClientProcess[];
  /** In order, each until the next; by wall clock, as logs are. */
  readonly #past: { readonly phase: Phase; readonly sinceMs: number }[] = [];
  #round = 0;

  constructor(clients: readonly ClientProcess[]) {
    this.#clients = clients;
  }

  async enter(phase: Phase, round = this.#round): Promise<void> {
    this.#round = round;
    this.#past.push({ phase, sinceMs: Date.now() });
    const moment: Moment = { phase, round };
    await Promise.all(this.#clients.map((each) => each.during(moment)));
  }

  /** A change while limits change, and what follows from it. */
  async during(phase: Phase, change: () => Promise<unknown>): Promise<void> {
    await this.enter(phase);
    await change();
    await new Promise((resolve) => setTimeout(resolve, aftermathMs));
    await this.enter('limits');
  }

  phaseAt(wallMs: number): Phase | undefined {
    return this.#past.findLast(({ sinceMs }) => sinceMs <= wallMs)?.phase;
  }
}
