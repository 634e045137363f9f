// How many invocations of a tenant run or wait at once, and whether one more may: Lambda's concurrency limits.
// Owns the counts. The rule itself is src/allocator/scale.ts.
import { concurrencyCap } from '../../allocator/scale.ts';
import type { ThrottleReason } from '../../protocol/lambda/errors.ts';

/** What the functions of one tenant share. */
export class TenantConcurrency {
  /** Null: Lambda's default for an account. */
  limit: number | null = null;
  readonly #functions = new Set<FunctionConcurrency>();
  unreservedActive = 0;
  reservedTotal = 0;

  add(part: FunctionConcurrency): void {
    this.#functions.add(part);
    this.recount();
  }

  remove(part: FunctionConcurrency): void {
    this.#functions.delete(part);
    this.recount();
  }

  /** After a limit, a reservation or the set of functions changed. */
  recount(): void {
    this.unreservedActive = 0;
    this.reservedTotal = 0;
    for (const { reserved, active } of this.#functions) {
      if (reserved === null) this.unreservedActive += active;
      else this.reservedTotal += reserved;
    }
  }
}

export class FunctionConcurrency {
  readonly #tenant: TenantConcurrency;
  #reserved: number | null = null;
  #active = 0;

  constructor(tenant: TenantConcurrency) {
    this.#tenant = tenant;
    tenant.add(this);
  }

  /** Invocations that run or wait. */
  get active(): number {
    return this.#active;
  }

  get reserved(): number | null {
    return this.#reserved;
  }

  set reserved(reserved: number | null) {
    this.#reserved = reserved;
    this.#tenant.recount();
  }

  /** The most that may be active at once now. */
  get cap(): number {
    const { limit, reservedTotal, unreservedActive } = this.#tenant;
    const own = this.#reserved;
    return concurrencyCap({
      reserved: own,
      tenant: limit,
      reservedByOthers: own === null ? reservedTotal : reservedTotal - own,
      unreservedInUse: own === null ? unreservedActive - this.#active : unreservedActive,
    });
  }

  /** Counts one more, or says why not. */
  enter(): ThrottleReason | undefined {
    if (this.#active >= this.cap) {
      return this.#reserved === null
        ? 'ConcurrentInvocationLimitExceeded'
        : 'ReservedFunctionConcurrentInvocationLimitExceeded';
    }
    this.#active += 1;
    if (this.#reserved === null) this.#tenant.unreservedActive += 1;
    return undefined;
  }

  leave(): void {
    this.#active -= 1;
    if (this.#reserved === null) this.#tenant.unreservedActive -= 1;
  }

  close(): void {
    this.#tenant.remove(this);
  }
}
