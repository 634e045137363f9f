// A plan's resources, divided: the same as `divide` of grants.ts, but of 10,000 instances only those are looked at one by one
// whose tenant is short, and nobody's demand is asked for while there is room. Part of plan-change.ts. Pure.
import type { ResourceKind } from '../model/resources.ts';
import { lendingByCredit } from './credits/lend.ts';
import { fairShare, type Claim } from './fair-share.ts';
import { minimumOf } from './feasibility.ts';
import { demandedBy, dividedShares, grantable } from './grants.ts';
import { columnsOf, type Column } from './plan-columns.ts';
import type { PlanGroups, TenantGroup } from './plan-groups.ts';
import type { InstanceState, PlanInput } from './plan-input.ts';

/** What tenants have in all, by their places in the groups, and each instance, by its place in the input. */
export interface Division {
  readonly shares: readonly number[];
  readonly amounts: Float64Array;
  /**
   * What is due to each: what it would have if everybody demanded what it asks for, whoever holds it now. The very amounts where
   * demand makes no difference, and of what can not be lent.
   */
  readonly due: Float64Array;
}

export type Divided = Readonly<Record<ResourceKind, Division>>;

export function divideAll(input: PlanInput, groups: PlanGroups): Divided {
  const { memory, cpu, storage, bandwidth } = columnsOf(input, groups);
  return {
    memory: divideOne(input, groups, 'memory', memory),
    cpu: divideOne(input, groups, 'cpu', cpu),
    storage: divideOne(input, groups, 'storage', storage),
    bandwidth: divideOne(input, groups, 'bandwidth', bandwidth),
  };
}

function divideOne(input: PlanInput, groups: PlanGroups, resource: ResourceKind, column: Column): Division {
  const { capacity, oversubscription, demandOf } = input;
  const { tenants } = groups;
  const room = grantable(capacity[resource], oversubscription[resource]);
  const asked = tenants.map((group) => claimOf(group, resource, column));
  const ifAllDemanded = fairShare(room, asked);
  const isAnyShort = asked.some(({ demand }, place) => (ifAllDemanded[place] ?? 0) < demand);
  if (demandOf === undefined || !isAnyShort) {
    const amounts = within(groups, column, asked, ifAllDemanded, (share, group) =>
      fairShare(share, askedIn(group, column)),
    );
    return { shares: ifAllDemanded, amounts, due: amounts };
  }
  const demands = new Demands(demandOf, input.instances, groups.order, resource, column);
  // Where the tenants' own limits alone stand against somebody, no tenant has anything that another one could use.
  const isRoomShort = sum(ifAllDemanded) >= room;
  const shares = isRoomShort ? sharesByDemand(input, groups, room, asked, demands) : ifAllDemanded;
  const amounts = within(groups, column, asked, shares, (share, group) =>
    dividedShares(share, demands.in(group), askedIn(group, column)),
  );
  return { shares, amounts, due: resource === 'memory' ? dueOf(groups, room, resource, column) : amounts };
}

/** What somebody uses of another's is not its own: it counts for nothing here, and so this does not move with it. */
function dueOf(groups: PlanGroups, room: number, resource: ResourceKind, { wanted }: Column): Float64Array {
  const column = { wanted, floors: new Float64Array(wanted.length).fill(minimumOf[resource]) };
  const asked = groups.tenants.map((group) => claimOf(group, resource, column));
  return within(groups, column, asked, fairShare(room, asked), (share, group) =>
    fairShare(share, askedIn(group, column)),
  );
}

/** What each tenant has among its instances: all that they ask for, or what `divide` makes of less than that. */
function within(
  { tenants, order }: PlanGroups,
  { wanted }: Column,
  asked: readonly Claim[],
  shares: readonly number[],
  divide: (share: number, group: TenantGroup) => readonly number[],
): Float64Array {
  const amounts = new Float64Array(order.length);
  for (const group of tenants) {
    const { place, from, to } = group;
    const share = shares[place] ?? 0;
    const divided = share < (asked[place]?.demand ?? 0) ? divide(share, group) : undefined;
    for (let at = from; at < to; at += 1)
      amounts[order[at] ?? 0] = (divided === undefined ? wanted[at] : divided[at - from]) ?? 0;
  }
  return amounts;
}

function sharesByDemand(
  { balances }: PlanInput,
  { tenants }: PlanGroups,
  room: number,
  asked: readonly Claim[],
  demands: Demands,
): readonly number[] {
  const demanded = tenants.map((group, at): Claim => ({
    ...(asked[at] as Claim),
    demand: demands.ofTenant(group),
  }));
  const lend =
    balances === undefined
      ? undefined
      : lendingByCredit(
          tenants.map(({ state }) => state.tenant),
          demanded,
          balances,
        );
  return dividedShares(room, demanded, asked, lend);
}

/** What instances demand of one resource, asked for once. */
class Demands {
  readonly #demandOf: NonNullable<PlanInput['demandOf']>;
  readonly #instances: readonly InstanceState[];
  readonly #order: Uint32Array;
  readonly #resource: ResourceKind;
  readonly #column: Column;
  /** In the order of the column; NaN for whom nobody asked yet. */
  readonly #known: Float64Array;

  constructor(
    demandOf: NonNullable<PlanInput['demandOf']>,
    instances: readonly InstanceState[],
    order: Uint32Array,
    resource: ResourceKind,
    column: Column,
  ) {
    this.#demandOf = demandOf;
    this.#instances = instances;
    this.#order = order;
    this.#resource = resource;
    this.#column = column;
    this.#known = new Float64Array(order.length).fill(Number.NaN);
  }

  in({ from, to }: TenantGroup): Claim[] {
    const claims: Claim[] = [];
    for (let at = from; at < to; at += 1) claims.push({ ...askedAt(at, this.#column), demand: this.#at(at) });
    return claims;
  }

  ofTenant({ from, to }: TenantGroup): number {
    let demand = 0;
    for (let at = from; at < to; at += 1) demand += this.#at(at);
    return demand;
  }

  #at(at: number): number {
    const known = this.#known[at] ?? Number.NaN;
    if (!Number.isNaN(known)) return known;
    const instance = this.#instances[this.#order[at] ?? 0];
    const { demand: request, floor } = askedAt(at, this.#column);
    const demand = instance && this.#demandOf(instance)[this.#resource];
    return (this.#known[at] = demandedBy({ request, demand: demand ?? request, floor }));
  }
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

function askedIn({ from, to }: TenantGroup, column: Column): Claim[] {
  const claims: Claim[] = [];
  for (let at = from; at < to; at += 1) claims.push(askedAt(at, column));
  return claims;
}

function askedAt(at: number, { wanted, floors }: Column): Claim {
  const request = wanted[at] ?? 0;
  return { demand: request, floor: floors[at] ?? 0, limit: request, weight: 1 };
}

function sum(amounts: readonly number[]): number {
  let total = 0;
  for (const amount of amounts) total += amount;
  return total;
}
