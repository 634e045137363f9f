// What belongs to whom before anybody lends: capacity by weight, within limits, whatever is demanded. Pure.
import type { TenantId } from '../../base/ids.ts';
import { fairShare, type Claim } from '../fair-share.ts';
import { inOrder } from '../grants.ts';

export interface Entitled {
  readonly tenant: TenantId;
  readonly weight: number;
  /** null is no limit of its own. */
  readonly limit: number | null;
}

/** In whole base units. What limits leave of `room` is entitled to nobody, and may be borrowed free. */
export function entitlements(room: number, tenants: readonly Entitled[]): ReadonlyMap<TenantId, number> {
  const ordered = inOrder(tenants, ({ tenant }) => tenant);
  const shares = entitledShares(
    room,
    ordered.map(({ weight, limit }) => ({ weight, limit: limit ?? Number.POSITIVE_INFINITY })),
  );
  return new Map(ordered.map(({ tenant }, index) => [tenant, shares[index] ?? 0]));
}

/** The same in the order of the claims, which are in order of their tenants' ids. A `limit` may be Infinity. */
export function entitledShares(
  room: number,
  claims: readonly Pick<Claim, 'weight' | 'limit'>[],
): readonly number[] {
  return fairShare(
    room,
    claims.map(({ weight, limit }) => ({ demand: Math.min(limit, room), floor: 0, limit, weight })),
  );
}
