// What every instance may use of one resource: capacity is divided among tenants first, then within each tenant
// among its instances. Owns the hierarchy; the division itself is fair-share.ts. Pure; alike for all four resources.
import type { InstanceId, TenantId } from '../base/ids.ts';
import { fairShare, type Claim } from './fair-share.ts';

export interface InstanceClaim {
  readonly id: InstanceId;
  /** What its workload asks for: the most it is given. */
  readonly request: number;
  /** What it needs in any case; a request below it counts. */
  readonly floor: number;
}

export interface TenantClaim {
  readonly tenant: TenantId;
  /** The most all its instances may have together; null is no limit of its own. Holds even when floors need more. */
  readonly limit: number | null;
  readonly weight: number;
  readonly instances: readonly InstanceClaim[];
}

export interface Grants {
  /** The sums of the tenants' instances. */
  readonly tenants: ReadonlyMap<TenantId, number>;
  readonly instances: ReadonlyMap<InstanceId, number>;
}

/** Which instance gets the odd unit must not depend on the order the caller happens to list them in. */
function inOrder<T>(items: readonly T[], idOf: (item: T) => string): T[] {
  return items.toSorted((a, b) => (idOf(a) < idOf(b) ? -1 : idOf(a) > idOf(b) ? 1 : 0));
}

/**
 * Divides `capacity`, in whole base units. No instance gets more than its request, no tenant more than its limit, and
 * together they get no more than `capacity` times `oversubscription`; nobody is below its request while the tenant's
 * limit and the capacity leave room. `oversubscription` is 1 for what must not run out, more where not everybody uses
 * everything at once; Infinity makes every grant a mere upper limit.
 */
export function divide(capacity: number, oversubscription: number, tenants: readonly TenantClaim[]): Grants {
  const ordered = inOrder(tenants, ({ tenant }) => tenant);
  const shares = fairShare(capacity === 0 ? 0 : capacity * oversubscription, ordered.map(claimOfTenant));
  const tenantSums = new Map<TenantId, number>();
  const instances = new Map<InstanceId, number>();
  for (const [index, { tenant, instances: claims }] of ordered.entries()) {
    const share = shares[index] ?? 0;
    tenantSums.set(tenant, share);
    const orderedClaims = inOrder(claims, ({ id }) => id);
    const grants = fairShare(share, orderedClaims.map(claimOfInstance));
    for (const [at, { id }] of orderedClaims.entries()) instances.set(id, grants[at] ?? 0);
  }
  return { tenants: tenantSums, instances };
}

function claimOfInstance({ request, floor }: InstanceClaim): Claim {
  return { demand: request, floor, limit: request, weight: 1 };
}

function claimOfTenant({ limit, weight, instances }: TenantClaim): Claim {
  let demand = 0;
  let floor = 0;
  for (const instance of instances) {
    demand += instance.request;
    floor += Math.min(instance.floor, instance.request);
  }
  return { demand, floor, limit: limit ?? Number.POSITIVE_INFINITY, weight };
}
