// What belongs to whom before anybody lends: capacity by weight, within limits, whatever is demanded. Pure.
import type { TenantId } from '../../base/ids.ts';
import { fairShare } from '../fair-share.ts';
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
  const shares = fairShare(
    room,
    ordered.map(({ weight, limit }) => ({
      demand: Math.min(limit ?? room, room),
      floor: 0,
      limit: limit ?? Number.POSITIVE_INFINITY,
      weight,
    })),
  );
  return new Map(ordered.map(({ tenant }, index) => [tenant, shares[index] ?? 0]));
}
