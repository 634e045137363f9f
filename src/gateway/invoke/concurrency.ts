// How many invocations of a tenant run or wait at once, and whether one more may: Lambda's concurrency limits.
// Owns the counts, and what is said to whoever does not get in. The rule itself is src/allocator/scale.ts.
import type { TenantId } from '../../base/ids.ts';
import { concurrencyCap, defaultTenantConcurrency } from '../../allocator/scale.ts';
import type { ThrottleReason } from '../../protocol/lambda/errors.ts';
import type { Failure } from './invocation.ts';

export type Throttled = Extract<Failure, { kind: 'throttled' }>;

/** What the functions of one tenant share. */
export class TenantConcurrency {
  readonly tenant: TenantId;
  /** Null: Lambda's default for an account. */
  limit: number | null = null;
  readonly #functions = new Set<FunctionConcurrency>();
  /** Invocations that wait in another gateway. */
  waitingElsewhere = 0;
  /** Of all functions, those with reserved concurrency included. */
  active = 0;
  unreservedActive = 0;
  reservedTotal = 0;

  readonly #onCounted: () => void;

  /** @param onCounted one more is active, or one fewer, of a tenant that has a limit, or of a function that has one */
  constructor(tenant: TenantId, onCounted: () => void = () => {}) {
    this.tenant = tenant;
    this.#onCounted = onCounted;
  }

  tell(reserved: number | null): void {
    if (this.limit !== null || reserved !== null) this.#onCounted();
  }

  /** Whether all that the tenant may run runs; so it may be below what is reserved, after the limit was lowered. */
  get isFull(): boolean {
    return this.counted >= (this.limit ?? defaultTenantConcurrency);
  }

  /** Whether it is full only by what waits in other gateways, or did when they told. */
  get isFullByOthers(): boolean {
    return this.isFull && this.active < (this.limit ?? defaultTenantConcurrency);
  }

  get counted(): number {
    return this.active + this.waitingElsewhere;
  }

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
    this.active = 0;
    this.unreservedActive = 0;
    this.reservedTotal = 0;
    for (const { reserved, active } of this.#functions) {
      this.active += active;
      if (reserved === null) this.unreservedActive += active;
      else this.reservedTotal += reserved;
    }
  }
}

export class FunctionConcurrency {
  readonly #tenant: TenantConcurrency;
  #reserved: number | null = null;
  #active = 0;
  /** Of these, how many were sent by other gateways. */
  #elsewhere = 0;

  constructor(tenant: TenantConcurrency) {
    this.#tenant = tenant;
    tenant.add(this);
  }

  /** Invocations that run or wait, those included that instances run for other gateways. */
  get active(): number {
    return this.#active;
  }

  /** Of these, ours. */
  get own(): number {
    return this.#active - this.#elsewhere;
  }

  /** Instances run so many more for others, or fewer. They are counted, whatever the limit. */
  elsewhere(more: number): void {
    this.#elsewhere += more;
    this.#change(more);
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

  /** Whether one more would be refused only for what other gateways said a moment ago: what waited there may be counted twice now. */
  get isFullByOthers(): boolean {
    return this.#tenant.isFullByOthers;
  }

  /** Why one more would not be let in now. */
  get full(): ThrottleReason | undefined {
    if (this.#tenant.isFull) return 'ConcurrentInvocationLimitExceeded';
    if (this.#active >= this.cap) {
      return this.#reserved === null
        ? 'ConcurrentInvocationLimitExceeded'
        : 'ReservedFunctionConcurrentInvocationLimitExceeded';
    }
    return undefined;
  }

  /** Counts one more, or says why not. */
  enter(): ThrottleReason | undefined {
    const reason = this.full;
    if (reason !== undefined) return reason;
    this.#change(1);
    this.#tenant.tell(this.#reserved);
    return undefined;
  }

  leave(): void {
    this.#change(-1);
    this.#tenant.tell(this.#reserved);
  }

  #change(more: number): void {
    this.#active += more;
    this.#tenant.active += more;
    if (this.#reserved === null) this.#tenant.unreservedActive += more;
  }

  /** The failure of an invocation that was refused for this reason: AWS's words, and the limit. */
  throttled(reason: ThrottleReason): Throttled {
    return { kind: 'throttled', reason, message: `Rate Exceeded. ${this.#explain(reason)}` };
  }

  #explain(reason: ThrottleReason): string {
    const { tenant, counted, limit, reservedTotal } = this.#tenant;
    switch (reason) {
      case 'ConcurrentInvocationLimitExceeded': {
        const reserved = reservedTotal === 0 ? '' : `, of which ${reservedTotal} are reserved`;
        return `The tenant ${tenant} runs ${counted} invocations, and its limit is ${limit ?? defaultTenantConcurrency}${reserved}.`;
      }
      case 'ReservedFunctionConcurrentInvocationLimitExceeded':
        return `The function runs ${this.#active} invocations, and its reserved concurrency is ${this.#reserved}.`;
      default:
        return `${this.#active} invocations of the function run or wait for an instance; no more may wait, and none for longer.`;
    }
  }

  close(): void {
    this.#tenant.remove(this);
  }
}
