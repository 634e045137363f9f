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
  /** How long the first of them has waited while so many were busy as are now, and how many before it were taken up meanwhile. */
  readonly head: { readonly waitedMs: number; readonly takenUp: number };
  /** What an event took lately, or takes at least; null when nothing is known. */
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

/** Whatever the code takes, an event costs its way to it and back: a tenth of a millisecond here. */
const leastServiceMs = 0.1;

/** Of so many the pace is no accident. */
const enoughSeen = 16;

/**
 * How many more instances to start now. None for events that those which are there will have taken up before a new one is
 * ready; for the rest as many as have taken them up in the time of one more start. So many short events need one, and each
 * long one its own.
 */
export function instancesToStart(load: FunctionLoad, cap: number): number {
  const { busy, idle, starting, waiting } = load;
  const { present, fresh } = takenUpInAStart(load);
  const sooner = Math.max(idle, Math.floor((busy + idle) * present));
  const rest = Math.max(0, waiting - sooner);
  const wanted = Math.ceil(rest / Math.max(1, fresh)) - starting;
  return Math.max(0, Math.min(wanted, cap - busy - idle - starting));
}

/** How many events one instance takes up while another starts: one of those that are there, and one that is new. */
function takenUpInAStart(load: FunctionLoad): { readonly present: number; readonly fresh: number } {
  const { busy, head, serviceMs, startMs } = load;
  const usual = serviceMs === null ? null : startMs / Math.max(serviceMs, leastServiceMs);
  // Who has seen many go before, or has waited for longer than a start takes, knows how fast it goes, whatever is usual.
  if (busy > 0 && head.waitedMs > 0 && (head.takenUp >= enoughSeen || head.waitedMs > startMs)) {
    const seen = (head.takenUp / busy) * (startMs / head.waitedMs);
    // Those that are there take up nothing: that says nothing of others.
    return { present: seen, fresh: seen > 0 ? seen : (usual ?? 1) };
  }
  return { present: usual ?? 0, fresh: usual ?? 1 };
}
