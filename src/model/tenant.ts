// A tenant: a customer with limits, a weight and credentials. Types and defaults, no I/O.
import type { TenantId } from '../base/ids.ts';
import type { Bytes, BytesPerSecond, Millicores } from '../base/quantity.ts';

/** The most a tenant may be allocated; null means whatever the machine has. */
export interface TenantLimits {
  readonly memory: Bytes | null;
  readonly cpu: Millicores | null;
  readonly storage: Bytes | null;
  readonly bandwidth: BytesPerSecond | null;
  /** Client connections open at once. */
  readonly connections: number | null;
  /** Function invocations running at once; Lambda's account default is 1,000. */
  readonly concurrency: number | null;
  /** Requests a second to its workloads and of its own to Invoke; as many at once after a pause. */
  readonly requests: number | null;
}

/** The limits on what gateways count, which are numbers; the others are quantities that a unit holds. */
export const countedLimits = ['connections', 'concurrency', 'requests'] as const;
export type CountedLimit = (typeof countedLimits)[number];

export function isCountedLimit<T extends string>(resource: T | CountedLimit): resource is CountedLimit {
  return (countedLimits as readonly string[]).includes(resource);
}

/** What a tenant has of what gateways count, now; of requests, how many there were in the last whole second. */
export type CountedUse = Readonly<Record<CountedLimit, number>>;

export const unlimited: TenantLimits = {
  memory: null,
  cpu: null,
  storage: null,
  bandwidth: null,
  connections: null,
  concurrency: null,
  requests: null,
};

export const noCountedUse: CountedUse = { connections: 0, concurrency: 0, requests: 0 };

export interface TenantCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface Tenant {
  readonly id: TenantId;
  /** The user and group id that all of the tenant's instances run as, and nobody else. */
  readonly uid: number;
  /** Twelve digits, as AWS shows an account in an ARN. */
  readonly accountId: string;
  readonly limits: TenantLimits;
  /** Share of what is scarce, relative to other tenants' weights. */
  readonly weight: number;
  readonly credentials: TenantCredentials;
  readonly createdAtMs: number;
}
