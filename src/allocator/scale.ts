// How many instances a function needs. Owns the rules for functions; an app's number is
// what its owner says. Pure. An instance runs one event at a time, so an instance is a unit of concurrency.

/** Lambda's account default. */
export const defaultTenantConcurrency = 1_000;
/** Lambda keeps 100 of an account's 1,000 from being reserved. */
const unreservedShare = 0.1;

export interface FunctionLoad {
  readonly busy: number;
  /** Usable at once, frozen ones included. */
  readonly idle: number;
  /** Under way and not usable yet. */
  readonly starting: number;
  /** Events that wait because no instance is free. */
  readonly waiting: number;
  /** How long the first of them has waited. */
  readonly oldestWaitMs: number;
  /** What an event took lately; null when nothing is known. */
  readonly serviceMs: number | null;
  /** What a start takes now, from the pool or cold. */
  readonly startMs: number;
}

export interface ConcurrencyLimits {
  /** The function's own; null shares what nobody has reserved. */
  readonly reserved: number | null;
  /** The tenant's; null is {@link defaultTenantConcurrency}. */
  readonly tenant: number | null;
  /** Sum of what the tenant's other functions have reserved. */
  readonly reservedByOthers: number;
  /** Instances of the tenant's other functions that have reserved nothing. */
  readonly unreservedInUse: number;
}

/** The most instances the function may have. Reserved concurrency is guaranteed and is a limit, as in Lambda. */
export function concurrencyCap({
  reserved,
  tenant,
  reservedByOthers,
  unreservedInUse,
}: ConcurrencyLimits): number {
  const tenantLimit = tenant ?? defaultTenantConcurrency;
  if (reserved !== null) return Math.max(0, Math.min(reserved, tenantLimit));
  return Math.max(0, tenantLimit - reservedByOthers - unreservedInUse);
}

/**
 * What reservations must leave of a tenant's limit, so that functions that have reserved nothing can run: Lambda's share, but
 * at least one, for a tenth of a small limit is none.
 */
export function leastUnreserved(tenantLimit: number): number {
  return Math.ceil(tenantLimit * unreservedShare);
}

/**
 * How many more instances to start now. None for events that the running instances will have taken up before a new
 * one is ready; but when the queue's head has waited longer than a start takes, that estimate was wrong.
 */
export function instancesToStart(load: FunctionLoad, cap: number): number {
  const { busy, idle, starting, waiting, oldestWaitMs, serviceMs, startMs } = load;
  const estimateHolds = serviceMs !== null && oldestWaitMs <= startMs;
  // A service time of zero would clear any queue: the clock's resolution is not to be divided by.
  const takenUpSooner = estimateHolds ? Math.floor((busy * startMs) / Math.max(serviceMs, 1)) : 0;
  const wanted = Math.max(0, waiting - idle - starting - takenUpSooner);
  return Math.max(0, Math.min(wanted, cap - busy - idle - starting));
}
