// Whether somebody may have more of what is promised more than once. Pure; whole base units, alike for memory and storage.
// Whether an instance may start at all is asked of the controller's capacity.ts; how shares come about, of grants.ts.
//
// Promised are grants: together up to `oversubscription` times what there is. Held is what can not be taken back at once. A
// tenant is assured of what it is expected to need of its own share. The rule keeps, after each growth,
//
//   all that is held + all that is assured and not held yet <= capacity - reserve, and as much for grants
//
// so whoever grows within what is assured to it needs nobody's leave, and waits for nobody, whatever the others do. Who
// grows beyond may be told to wait. The reserve is for expectations that turn out wrong, while reclaim makes room.
import type { TenantId } from '../base/ids.ts';

export interface Pool {
  readonly capacity: number;
  /** What is never held by anybody. */
  readonly reserve: number;
  /** 1 or more. */
  readonly oversubscription: number;
}

export interface Holding {
  readonly tenant: TenantId;
  /** Its own share: see credits/entitlement.ts. All of them are at most what the pool has beyond its reserve. */
  readonly entitled: number;
  /** What it is expected to need at most. */
  readonly expected: number;
  /** What it is granted. */
  readonly granted: number;
  /** What it holds of that and can not be taken back at once. */
  readonly held: number;
}

export interface Growth {
  readonly tenant: TenantId;
  /** How much more it is to be granted, and how much more of it to hold. */
  readonly granted: number;
  readonly held: number;
}

export type Admission =
  | { readonly verdict: 'admitted' }
  /** Too much is promised, or what is asked for is assured to `others`: not before somebody gives back. */
  | { readonly verdict: 'wait'; readonly because: 'promised' | 'others'; readonly missing: number };

export function admitGrowth(
  { tenant, granted, held }: Growth,
  holdings: readonly Holding[],
  { capacity, reserve, oversubscription }: Pool,
): Admission {
  const room = capacity - reserve;
  let promised = 0;
  let taken = 0;
  for (const holding of holdings) {
    const isAsking = holding.tenant === tenant;
    const assured = assuredTo(holding);
    promised += Math.max(holding.granted + (isAsking ? granted : 0), assured);
    taken += Math.max(holding.held + (isAsking ? held : 0), assured);
  }
  if (promised > room * oversubscription)
    return { verdict: 'wait', because: 'promised', missing: promised - Math.floor(room * oversubscription) };
  if (taken > room) return { verdict: 'wait', because: 'others', missing: taken - room };
  return { verdict: 'admitted' };
}

/** What a tenant can count on. */
export function assuredTo({ entitled, expected }: Pick<Holding, 'entitled' | 'expected'>): number {
  return Math.min(entitled, expected);
}
