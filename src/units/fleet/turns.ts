// Turns to start: only so many instances start in virtual machines at once, and tenants take turns. Owns who waits; what is
// done in a turn is starts.ts.
//
// A start in a machine costs seconds of a processor, under emulation ten. Twenty at once would each take twenty times as long,
// and pass deadlines that one alone keeps easily; one after another the first serve while the last wait.
import type { TenantId } from '../../base/ids.ts';

/** A tenant's starts in their order. */
type Line = { readonly begin: () => void }[];

export class Turns {
  readonly #atOnce: number;
  readonly #longestMs: number;
  #taken = 0;
  /** In the order in which tenants are next. */
  readonly #lines = new Map<TenantId, Line>();

  /** @param longestMs a turn that takes longer goes on and is counted no more: its user code must not hold up the others */
  constructor(atOnce: number, longestMs: number) {
    this.#atOnce = atOnce;
    this.#longestMs = longestMs;
  }

  /** Does the work when it is its turn; `giveUp` gets the number of turns that were taken when `waitMs` have passed in vain. */
  async during<T>(
    tenant: TenantId,
    { waitMs, giveUp }: { readonly waitMs: number; readonly giveUp: (taken: number) => Error },
    work: () => Promise<T>,
  ): Promise<T> {
    await this.#begin(tenant, waitMs, giveUp);
    let over = false;
    const end = (): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      this.#taken -= 1;
      this.#next();
    };
    const timer = setTimeout(end, this.#longestMs).unref();
    return work().finally(end);
  }

  #begin(tenant: TenantId, waitMs: number, giveUp: (taken: number) => Error): Promise<void> {
    if (this.#taken < this.#atOnce) {
      this.#taken += 1;
      return Promise.resolve();
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const line = this.#lines.get(tenant) ?? [];
    this.#lines.set(tenant, line);
    const waiter = {
      begin: (): void => {
        clearTimeout(timer);
        resolve();
      },
    };
    const timer = setTimeout(() => {
      line.splice(line.indexOf(waiter), 1);
      if (line.length === 0 && this.#lines.get(tenant) === line) this.#lines.delete(tenant);
      reject(giveUp(this.#taken));
    }, waitMs);
    line.push(waiter);
    return promise;
  }

  #next(): void {
    const [first] = this.#lines;
    if (first === undefined) return;
    const [tenant, line] = first;
    const waiter = line.shift();
    // Last in the order, if there is more of it.
    this.#lines.delete(tenant);
    if (line.length > 0) this.#lines.set(tenant, line);
    if (waiter === undefined) return;
    this.#taken += 1;
    waiter.begin();
  }
}
