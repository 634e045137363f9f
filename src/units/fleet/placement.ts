// Which unit an instance starts in. Pure: what is there comes in, a unit's id or a reason comes out.
//
// A virtual machine is a wall between tenants: one that has served a tenant is never given to another, unless the operator
// lets several tenants share. Among those that may, the one is taken whose claim has to change least.
import type { TenantId, UnitId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import { resourceKinds, type Resources } from '../../model/resources.ts';
import type { Sharing } from './config.ts';

export interface Candidate {
  readonly id: UnitId;
  readonly provisioned: Resources;
  /** Granted to the instances that are in it or on their way. */
  readonly granted: Resources;
  readonly claimed: Resources;
  readonly instances: number;
  /** Every tenant that it has ever served. */
  readonly served: ReadonlySet<TenantId>;
}

export interface Wanted {
  readonly tenant: TenantId;
  readonly grant: Resources;
}

export type Placement =
  | { readonly is: 'found'; readonly unit: UnitId }
  /** None now: a new one serves. */
  | { readonly is: 'none' }
  /** No unit of this size ever does. */
  | { readonly is: 'never'; readonly reason: string };

export function place(
  wanted: Wanted,
  candidates: readonly Candidate[],
  sharing: Sharing,
  unitSize: Resources,
): Placement {
  if (wanted.grant.memory > unitSize.memory)
    return {
      is: 'never',
      reason: `it asks for ${humanBytes(wanted.grant.memory)} of memory and a unit has ${humanBytes(unitSize.memory)}`,
    };
  const [best] = candidates
    .filter((candidate) => mayServe(wanted.tenant, candidate, sharing) && fits(wanted.grant, candidate))
    .map((candidate) => ({ candidate, distance: distance(wanted.grant, candidate) }))
    // Fuller units first where it costs the same: a unit that empties can go. Then by name, so that it is always the same.
    .toSorted(
      (left, right) =>
        left.distance - right.distance ||
        right.candidate.instances - left.candidate.instances ||
        (left.candidate.id < right.candidate.id ? -1 : 1),
    );
  return best === undefined ? { is: 'none' } : { is: 'found', unit: best.candidate.id };
}

function mayServe(tenant: TenantId, { served, instances }: Candidate, sharing: Sharing): boolean {
  switch (sharing) {
    case 'none':
      return served.size === 0 && instances === 0;
    case 'tenant':
      return [...served].every((other) => other === tenant);
    case 'all':
      return true;
  }
}

/** Memory and storage are there once; processor time and bandwidth are shared out by weight when they are short. */
function fits(grant: Resources, { provisioned, granted }: Candidate): boolean {
  return (['memory', 'storage'] as const).every(
    (kind) => granted[kind] + Math.min(grant[kind], provisioned[kind]) <= provisioned[kind],
  );
}

/** By how much the unit's claim has to move, as a share of what was provisioned, over all resources. */
function distance(grant: Resources, { provisioned, granted, claimed }: Candidate): number {
  return resourceKinds.reduce((sum, kind) => {
    const usable = provisioned[kind] - claimed[kind];
    const needed = Math.min(provisioned[kind], granted[kind] + grant[kind]);
    return provisioned[kind] === 0 ? sum : sum + Math.abs(needed - usable) / provisioned[kind];
  }, 0);
}
