// Who is not ended for another tenant's start, however idle at this moment: whoever is called again and again, by a tenant within its
// share, for one that goes beyond its own. Else one tenant's growth makes another's next call wait. Pure; the verdict is ./capacity.ts's.
import type { TenantId } from '../base/ids.ts';
import type { Occupant } from './capacity.ts';

export interface Start {
  readonly tenant: TenantId;
  readonly askedBytes: number;
  /** What belongs to each tenant before anybody lends: allocator/credits/entitlement.ts. */
  readonly entitled: ReadonlyMap<TenantId, number>;
  readonly nowMs: number;
  /** Who was idle for so long rests, and has no call to come at once: it may be ended for anybody. */
  readonly restMs: number;
}

/** The same occupants; those that are spared can not be ended. */
export function sparing(
  occupants: readonly Occupant[],
  { tenant, askedBytes, entitled, nowMs, restMs }: Start,
): Occupant[] {
  const held = new Map<TenantId, number>();
  for (const { tenant: holder, memoryBytes } of occupants)
    held.set(holder, (held.get(holder) ?? 0) + memoryBytes);
  const isWithin = (of: TenantId, moreBytes: number): boolean =>
    (held.get(of) ?? 0) + moreBytes <= (entitled.get(of) ?? 0);
  if (isWithin(tenant, askedBytes)) return [...occupants];
  return occupants.map((occupant) => {
    const { idleSinceMs } = occupant;
    const isSpared =
      idleSinceMs !== null &&
      nowMs - idleSinceMs < restMs &&
      occupant.tenant !== tenant &&
      isWithin(occupant.tenant, 0);
    return isSpared ? { ...occupant, idleSinceMs: null } : occupant;
  });
}
