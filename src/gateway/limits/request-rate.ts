// How many requests a second each tenant makes, against its limit. Owns the counts: for each tenant a bucket that fills at the
// limit's pace and holds one second's worth, so no timer and no list. What becomes of who is refused is not here.
import { BellowsError } from '../../base/errors.ts';
import type { TenantId } from '../../base/ids.ts';
import { LambdaError } from '../../protocol/lambda/errors.ts';
import type { RouteChange } from '../../protocol/routes.ts';

/** A limit of none at all has no moment from which on it lets in: until somebody raises it, once a minute is often enough. */
const retryWhenNoneSeconds = 60;

export class RequestRate {
  readonly tenant: TenantId;
  readonly #nowMs: () => number;
  readonly #onCounted: () => void;
  #limit: number | null = null;
  /** How many may come at once now, a part of one included; of meaning while there is a limit. */
  #left = 0;
  #filledAtMs = 0;
  #entered = 0;
  /** Let in, and not told to other gateways. */
  #untold = 0;
  #perSecond = 0;

  /** @param onCounted one more has entered of a tenant that has a limit */
  constructor(tenant: TenantId, nowMs: () => number, onCounted: () => void = () => {}) {
    this.tenant = tenant;
    this.#nowMs = nowMs;
    this.#onCounted = onCounted;
  }

  /** Requests a second, and as many at once after a pause; null: no limit. */
  get limit(): number | null {
    return this.#limit;
  }

  /** Holds from now on. A tenant that has spent what it may is not given a new second's worth by it. */
  set limit(limit: number | null) {
    if (limit === this.#limit) return;
    const hadLimit = this.#limit !== null;
    if (hadLimit) this.#fill();
    this.#limit = limit;
    this.#filledAtMs = this.#nowMs();
    if (limit !== null) this.#left = hadLimit ? Math.min(this.#left, limit) : limit;
  }

  /** Of the last whole second: how many were let in. */
  get perSecond(): number {
    return this.#perSecond;
  }

  /** Whether one more would be let in now. */
  get hasRoom(): boolean {
    if (this.#limit === null) return true;
    this.#fill();
    return this.#left >= 1;
  }

  /** Counts one more, unless it comes sooner than the limit allows. */
  enter(): boolean {
    if (!this.hasRoom) return false;
    this.#entered += 1;
    this.#untold += 1;
    if (this.#limit === null) return true;
    this.#left -= 1;
    this.#onCounted();
    return true;
  }

  /** How many were let in since it was asked last. */
  takeUntold(): number {
    const untold = this.#untold;
    this.#untold = 0;
    return untold;
  }

  /** So many have come through another gateway. Those that were one too many are owed: nobody is let in until they are paid. */
  cameElsewhere(count: number): void {
    if (this.#limit === null) return;
    this.#fill();
    this.#left -= count;
  }

  /** When the next one may come: whole seconds, for that is what a Retry-After says. */
  get retryAfterSeconds(): number {
    const limit = this.#limit;
    if (limit === null) return 1;
    if (limit === 0) return retryWhenNoneSeconds;
    return Math.max(1, Math.ceil((1 - this.#left) / limit));
  }

  /** What is said to whoever does not get in, by all but the Lambda API. */
  refusal(): BellowsError {
    return new BellowsError(
      'LimitReached',
      this.#explain(),
      `Send less often, or raise the limit: PUT /v1/tenants/${this.tenant}/limits {"requests": …}.`,
    );
  }

  /** The same as Lambda says it. */
  lambdaRefusal(): LambdaError {
    return new LambdaError('TooManyRequestsException', `Rate Exceeded. ${this.#explain()}`, {
      Reason: 'CallerRateLimitExceeded',
      retryAfterSeconds: String(this.retryAfterSeconds),
    });
  }

  #explain(): string {
    return `The tenant ${this.tenant} sends more requests than its limit of ${this.#limit ?? 'none'} per second.`;
  }

  /** To be called once a second. */
  countSecond(): void {
    this.#perSecond = this.#entered;
    this.#entered = 0;
  }

  #fill(): void {
    const limit = this.#limit ?? 0;
    const nowMs = this.#nowMs();
    this.#left = Math.min(limit, this.#left + ((nowMs - this.#filledAtMs) * limit) / 1000);
    this.#filledAtMs = nowMs;
  }
}

/** All tenants' rates; a tenant that is not known yet has no limit. */
export class RequestRates {
  readonly #nowMs: () => number;
  readonly #onCounted: () => void;
  readonly #tenants = new Map<TenantId, RequestRate>();

  constructor(nowMs: () => number, onCounted: () => void = () => {}) {
    this.#nowMs = nowMs;
    this.#onCounted = onCounted;
  }

  of(tenant: TenantId): RequestRate {
    let rate = this.#tenants.get(tenant);
    if (rate !== undefined) return rate;
    rate = new RequestRate(tenant, this.#nowMs, this.#onCounted);
    this.#tenants.set(tenant, rate);
    return rate;
  }

  onChange(change: RouteChange): void {
    if (change.change === 'tenant') this.of(change.tenant.id).limit = change.tenant.requestLimit;
    else if (change.change === 'tenantGone') this.#tenants.delete(change.id);
  }

  /** Of each tenant that made some, how many were let in since this was asked last. */
  *takeUntold(): Iterable<readonly [TenantId, number]> {
    for (const rate of this.#tenants.values()) {
      const untold = rate.takeUntold();
      if (untold > 0) yield [rate.tenant, untold];
    }
  }

  /** To be called once a second. */
  countSecond(): void {
    for (const rate of this.#tenants.values()) rate.countSecond();
  }
}
