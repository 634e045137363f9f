// What a plan divides, resource by resource: the same as `divide` of grants.ts, but only of tenants that are short are the
// instances looked at one by one. Pure.
import { resourceKinds, type ResourceKind } from '../model/resources.ts';
import { fairShare, type Claim } from './fair-share.ts';
import { minimumOf } from './feasibility.ts';
import { grantable } from './grants.ts';
import type { PlanGroups, TenantGroup } from './plan-groups.ts';
import type { PlanInput } from './plan-input.ts';

/** One resource, divided: what tenants have in all, by their places in the groups, and each instance, by its place in the input. */
export interface Division {
  readonly shares: readonly number[];
  readonly amounts: Float64Array;
}

export type Divided = Readonly<Record<ResourceKind, Division>>;

/**
 * What the instances ask of one resource and what they need of it in any case, in the order of the groups. Read several times, and
 * as numbers side by side: 100,000 instances do not fit into a processor's caches, and to fetch each anew is what would take most of the time.
 */
interface Column {
  readonly wanted: Float64Array;
  readonly floors: Float64Array;
}

export function divideAll(input: PlanInput, groups: PlanGroups): Divided {
  const columns = columnsOf(input, groups);
  return {
    memory: divideOne(input, groups, 'memory', columns.memory),
    cpu: divideOne(input, groups, 'cpu', columns.cpu),
    storage: divideOne(input, groups, 'storage', columns.storage),
    bandwidth: divideOne(input, groups, 'bandwidth', columns.bandwidth),
  };
}

function columnsOf({ instances }: PlanInput, { order }: PlanGroups): Readonly<Record<ResourceKind, Column>> {
  const column = (): Column => ({
    wanted: new Float64Array(instances.length),
    floors: new Float64Array(instances.length),
  });
  const columns = { memory: column(), cpu: column(), storage: column(), bandwidth: column() };
  const positions = new Uint32Array(instances.length);
  order.forEach((index, position) => {
    positions[index] = position;
  });
  let index = 0;
  for (const { wanted, inUse } of instances) {
    const position = positions[index] ?? 0;
    for (const resource of resourceKinds) {
      const { wanted: amounts, floors } = columns[resource];
      amounts[position] = wanted[resource];
      floors[position] = Math.max(minimumOf[resource], inUse[resource] ?? 0);
    }
    index += 1;
  }
  return columns;
}

function divideOne(
  { capacity, oversubscription, instances }: PlanInput,
  { tenants, order }: PlanGroups,
  resource: ResourceKind,
  column: Column,
): Division {
  const claims = tenants.map((group) => claimOf(group, resource, column));
  const shares = fairShare(grantable(capacity[resource], oversubscription[resource]), claims);
  const amounts = new Float64Array(instances.length);
  for (const { place, from, to } of tenants) {
    const share = shares[place] ?? 0;
    const isShort = share < (claims[place]?.demand ?? 0);
    const granted = isShort ? fairShare(share, instanceClaims(column, from, to)) : undefined;
    for (let at = from; at < to; at += 1)
      amounts[order[at] ?? 0] = (granted === undefined ? column.wanted[at] : granted[at - from]) ?? 0;
  }
  return { shares, amounts };
}

/** A tenant's instances together. */
function claimOf(
  { state, from, to }: TenantGroup,
  resource: ResourceKind,
  { wanted, floors }: Column,
): Claim {
  let demand = 0;
  let floor = 0;
  for (let at = from; at < to; at += 1) {
    const own = wanted[at] ?? 0;
    demand += own;
    floor += Math.min(floors[at] ?? 0, own);
  }
  const limit = state.wantedLimits[resource] ?? Number.POSITIVE_INFINITY;
  return { demand, floor, limit, weight: state.weight };
}

function instanceClaims({ wanted, floors }: Column, from: number, to: number): Claim[] {
  const claims: Claim[] = [];
  for (let at = from; at < to; at += 1) {
    const request = wanted[at] ?? 0;
    claims.push({ demand: request, floor: floors[at] ?? 0, limit: request, weight: 1 });
  }
  return claims;
}
